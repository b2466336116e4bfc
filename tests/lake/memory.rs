//! Memory of the writer while large bodies come.

mod with_servers {
    use std::time::Duration;

    use hookweir_testkit::app::{App, five_sources};
    use hookweir_testkit::load::Load;
    use hookweir_testkit::servers::amqp;
    use hookweir_testkit::sink::Queues;

    use crate::service::{Beside, shown, until_rows};

    /// Most resident memory of the writer in a debug build, beside other tests.
    const BOUND: u64 = 400_000_000;

    /// Returns the largest resident memory of a process so far, in bytes, without the pages of its program: those of
    /// a debug build are many.
    fn peak(process: u32) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
            let kilobytes: u64 = kilobytes.expect("a line").trim().parse().expect("a number");
            1024 * kilobytes
        };
        bytes("VmHWM:") - bytes("RssFile:")
    }

    /// 250 MB of them wait in the queue when the writer starts.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_writer_that_finds_many_bodies_of_100_kb_stays_below_400_mb() {
        let queues = Queues::new(&amqp());
        let config = format!(
            "{}[lakehouse]\nqueue = \"{}.lake\"\ncommit_secs = 1\n{}",
            queues.config(),
            queues.exchange,
            five_sources()
        );
        let mut app = App::start_with_lakehouse(&config).await;
        let first = Beside::start(&app);
        // Its queue gets events from its declaration on; the table is made before it.
        while shown(&app, "waiting").is_none() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        drop(first);
        let load = Load {
            at_once: 0,
            later: 0,
            forged: 0,
            other_body: 0,
            sizes: |_| 100_000,
            ..Load::on(&[app.listen])
        };
        let ledger = load.send(2500).await;
        ledger.check();
        app.drained().await;
        let beside = Beside::start(&app);
        until_rows(&app, ledger.genuine().count()).await;
        let peak = peak(beside.0.id());
        println!("at most {peak} bytes");
        assert!(peak < BOUND, "{peak} bytes");
        drop(beside);
        app.stop().await;
        queues.delete().await;
    }
}
