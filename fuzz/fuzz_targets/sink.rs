//! The file sink's recovery: whatever a crash has left in the last file, and whatever else is in the folder. Whole lines stay, nothing half
//! follows. After a NUL come the name of another file and, after one more, what is in it.
#![no_main]

use std::fs;
use std::time::Duration;

use hookweir::publish::sinks::file::{Access, FileWriter, Rotation};
use hookweir_signatures::UnixMillis;
use libfuzzer_sys::fuzz_target;

const NOW: UnixMillis = UnixMillis(1_750_000_000_000);
const LAST: &str = "events-20270115T080000Z-18446744073709551614.jsonl";

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let [left, name, other] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let folder = std::env::temp_dir().join(format!("hookweir-fuzz-sink-{}", std::process::id()));
    // None the first time.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let name = String::from_utf8_lossy(name);
    let is_name = !name.is_empty()
        && !name.contains('/')
        && !matches!(&*name, "." | ".." | ".lock")
        && !name.contains("18446744073709551615");
    if is_name && fs::write(folder.join(&*name), other).is_err() {
        return;
    }
    fs::write(folder.join(LAST), left).expect("a file");
    let whole = left
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let rotation = Rotation {
        bytes: 1 << 30,
        age: Duration::from_secs(1 << 32),
    };
    for round in 0..2 {
        let mut writer = FileWriter::open(&folder, rotation, &Access::PRIVATE, NOW).expect("opens");
        let found = fs::read(folder.join(LAST)).expect("there");
        assert_eq!(
            found,
            [&left[..whole], &b"next\n".repeat(round)].concat(),
            "whole lines, and no half one"
        );
        writer.append(b"next\n", NOW).expect("appends");
    }
    assert!(
        !is_name || name == LAST || fs::read(folder.join(&*name)).is_ok_and(|found| found == other),
        "the other file is as it was"
    );
    fs::remove_dir_all(&folder).expect("removed");
});
