//! The fault campaign, run by `tests/campaign`: row after row of the table, each with its load, its faults, a drain and the oracle.

#![expect(unreachable_pub, reason = "the modules of a program have no outside")]
#![expect(
    clippy::print_stdout,
    reason = "its progress and its table are for whoever runs it"
)]

mod controls;
mod options;
mod pulse;
mod report;
mod rows;
mod scene;
mod verdict;
mod world;

use std::process::ExitCode;

use clap::Parser as _;

use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    let chosen = rows::chosen(&options.faults)
        .and_then(|rows| Ok((rows, controls::chosen(&options.controls)?)));
    let (rows, controls) = match chosen {
        Ok((rows, controls)) => (options.share(rows), options.share(controls)),
        Err(unknown) => {
            println!("{unknown}; --list shows what there is");
            return ExitCode::from(2);
        }
    };
    if options.list {
        report::list(&rows, &controls);
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let report = runtime.block_on(report::Report::make(&options, &rows, &controls));
    report.write(&options);
    if report.succeeded() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
