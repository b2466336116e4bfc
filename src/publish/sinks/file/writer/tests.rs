//! The rules of the writer, on a real folder.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const ROTATION: Rotation = Rotation {
    bytes: 20,
    age: Duration::from_secs(60),
};

fn files(folder: &TempDir) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_name() != ".lock")
        .map(|entry| {
            (
                entry.file_name().into_string().expect("text"),
                String::from_utf8(fs::read(entry.path()).expect("a file")).expect("text"),
            )
        })
        .collect();
    files.sort();
    files
}

fn texts(folder: &TempDir) -> Vec<String> {
    files(folder).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_file_is_closed_by_size_and_by_age_and_continued_otherwise() {
    let folder = TempDir::new().expect("a folder");
    let mut writer =
        FileWriter::open(folder.path(), ROTATION, &Access::PRIVATE, NOW).expect("open");
    writer.append(b"one\n", NOW).expect("append");
    drop(writer);
    let mut writer =
        FileWriter::open(folder.path(), ROTATION, &Access::PRIVATE, NOW).expect("open again");
    writer
        .append(b"two and more than 20 bytes\n", NOW)
        .expect("append");
    writer.append(b"three\n", NOW).expect("append");
    writer
        .append(b"four\n", NOW.plus(Duration::from_secs(59)))
        .expect("append");
    writer
        .append(b"five\n", NOW.plus(Duration::from_secs(60)))
        .expect("append");
    assert_eq!(
        texts(&folder),
        [
            "one\ntwo and more than 20 bytes\n",
            "three\nfour\n",
            "five\n"
        ]
    );
    assert_eq!(files(&folder)[1].0, "events-20270115T080000Z-000002.jsonl");
    drop(writer);
    let mut writer = FileWriter::open(folder.path(), ROTATION, &Access::PRIVATE, UnixMillis(0))
        .expect("with a clock that was set back");
    writer.append(b"six\n", UnixMillis(0)).expect("append");
    assert_eq!(texts(&folder)[2], "five\nsix\n");
}

#[test]
fn one_process_at_a_time() {
    let folder = TempDir::new().expect("a folder");
    let deep = folder.path().join("a/b");
    let writer = FileWriter::open(&deep, ROTATION, &Access::PRIVATE, NOW).expect("open");
    assert!(
        FileWriter::open(&deep, ROTATION, &Access::PRIVATE, NOW)
            .is_err_and(|error| error.to_string().contains("another process"))
    );
    drop(writer);
    FileWriter::open(&deep, ROTATION, &Access::PRIVATE, NOW).expect("free again");
}

#[test]
fn what_a_failed_append_left_is_cut_off() {
    let folder = TempDir::new().expect("a folder");
    let mut writer =
        FileWriter::open(folder.path(), ROTATION, &Access::PRIVATE, NOW).expect("open");
    writer.append(b"good\n", NOW).expect("append");
    let path = folder.path().join(&files(&folder)[0].0);
    let current = writer.current.as_mut().expect("a file");
    current.file.write_all(b"half of a li").expect("write");
    cut_back(&mut current.file, current.good).expect("cut");
    writer.append(b"next\n", NOW).expect("append");
    assert_eq!(texts(&folder), ["good\nnext\n"]);
    // A file that cannot be written to: the error shows, and what was there stays.
    writer.current.as_mut().expect("a file").file = File::open(path).expect("read only");
    assert!(writer.append(b"lost\n", NOW).is_err());
    assert_eq!(texts(&folder), ["good\nnext\n"]);
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn nobody_else_reads_what_is_written_unless_the_configuration_says_so() {
    let above = TempDir::new().expect("a folder");
    let folder = above.path().join("events");
    let mut writer = FileWriter::open(&folder, ROTATION, &Access::PRIVATE, NOW).expect("open");
    writer.append(b"one\n", NOW).expect("append");
    let first = folder.join("events-20270115T080000Z-000001.jsonl");
    assert_eq!(
        (mode(&folder), mode(&first), mode(&folder.join(".lock"))),
        (0o700, 0o600, 0o600)
    );
    drop(writer);
    // Of an earlier release.
    fs::set_permissions(&first, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("set");
    drop(FileWriter::open(&folder, ROTATION, &Access::PRIVATE, NOW).expect("open"));
    assert_eq!(mode(&first), 0o600);
    let group = nix::unistd::getgid().to_string();
    let shared = Access {
        mode: 0o640,
        group: Some(group),
    };
    let mut writer = FileWriter::open(&folder, ROTATION, &shared, NOW).expect("open");
    writer
        .append(b"two and more than 20 bytes\n", NOW)
        .expect("append");
    writer.append(b"three\n", NOW).expect("append");
    assert_eq!(
        (
            mode(&folder),
            mode(&folder.join("events-20270115T080000Z-000002.jsonl"))
        ),
        (0o750, 0o640)
    );
    drop(writer);
    let nobody = Access {
        mode: 0o640,
        group: Some("no-such-group".to_owned()),
    };
    assert!(
        FileWriter::open(&folder, ROTATION, &nobody, NOW)
            .is_err_and(|error| error.to_string().contains("no-such-group"))
    );
}

#[test]
fn nothing_is_written_to_a_file_that_was_deleted_or_moved_away() {
    let above = TempDir::new().expect("a folder");
    let folder = above.path().join("events");
    let mut writer = FileWriter::open(&folder, ROTATION, &Access::PRIVATE, NOW).expect("open");
    writer.append(b"one\n", NOW).expect("append");
    fs::rename(
        folder.join("events-20270115T080000Z-000001.jsonl"),
        above.path().join("taken"),
    )
    .expect("moved");
    writer.append(b"two\n", NOW).expect("append");
    assert_eq!(
        fs::read_to_string(above.path().join("taken")).expect("a file"),
        "one\n"
    );
    assert_eq!(
        fs::read_to_string(folder.join("events-20270115T080000Z-000002.jsonl")).expect("a file"),
        "two\n"
    );
    fs::remove_dir_all(&folder).expect("removed");
    assert!(
        writer
            .append(b"lost\n", NOW)
            .is_err_and(|error| error.to_string().contains("deleted"))
    );
    drop(writer);
    let mut writer =
        FileWriter::open(&folder, ROTATION, &Access::PRIVATE, NOW).expect("open again");
    writer.append(b"kept\n", NOW).expect("append");
}

#[test]
fn a_file_that_was_begun_while_the_clock_was_ahead_is_closed_by_its_age_all_the_same() {
    let folder = TempDir::new().expect("a folder");
    let rotation = Rotation {
        bytes: 1 << 30,
        age: Duration::from_millis(50),
    };
    let mut writer =
        FileWriter::open(folder.path(), rotation, &Access::PRIVATE, NOW).expect("open");
    writer
        .append(b"ahead\n", NOW.plus(Duration::from_secs(400 * 86_400)))
        .expect("append");
    std::thread::sleep(Duration::from_millis(60));
    writer.append(b"right\n", NOW).expect("append");
    assert_eq!(texts(&folder).len(), 2);
}

proptest! {
    /// A crash may leave any part of what was written last: the whole lines before stay, nothing
    /// half follows.
    #[test]
    fn a_torn_last_line_is_mended(lines in proptest::collection::vec("[^\n]{0,40}|x{9000,20000}", 0..6), torn in "[^\n]{0,20}|y{9000}") {
        let folder = TempDir::new().expect("a folder");
        let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(folder.path().join("events-20270115T080000Z-000007.jsonl"), format!("{whole}{torn}")).expect("write");
        fs::write(folder.path().join("events-20280115T080000Z-000006.jsonl"), "older by number").expect("write");
        let rotation = Rotation { bytes: 1 << 30, ..ROTATION };
        let mut writer = FileWriter::open(folder.path(), rotation, &Access::PRIVATE, NOW).expect("open");
        writer.append(b"next\n", NOW).expect("append");
        prop_assert_eq!(&texts(&folder)[0], &format!("{whole}next\n"));
    }
}
