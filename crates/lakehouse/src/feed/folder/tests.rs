//! The feed against a folder that changes as the file sink changes it.

use super::*;

fn line(n: u32) -> String {
    format!(
        concat!(
            r#"{{"message_id":"018f0000-0000-8000-8000-{:012x}","content_type":null,"type":null,"#,
            r#""headers":{{"cloudEvents:id":"e","x-hookweir-source":"s","#,
            r#""x-hookweir-received-at":"2026-01-01T00:00:00.001Z"}},"body":"{}"}}"#,
            "\n"
        ),
        n, n
    )
}

fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("file");
    file.write_all(text.as_bytes()).expect("written");
}

fn feed(folder: &Path) -> FolderFeed {
    FolderFeed::open(folder, &folder.join(POSITION), Duration::from_millis(5)).expect("opened")
}

/// Returns the bodies of the next `count` messages, and the last ack.
async fn take(feed: &mut FolderFeed, count: usize) -> (Vec<String>, Position) {
    let mut bodies = Vec::new();
    let mut last = Position::default();
    for _ in 0..count {
        let message = feed.next().await.expect("a message");
        let event = message.event.expect("an event");
        bodies.push(String::from_utf8(event.body.to_vec()).expect("text"));
        last = message.ack;
    }
    (bodies, last)
}

async fn is_idle(feed: &mut FolderFeed) -> bool {
    tokio::time::timeout(Duration::from_millis(50), feed.next())
        .await
        .is_err()
}

#[tokio::test]
async fn lines_come_in_the_order_of_the_files_and_a_torn_one_waits() {
    let folder = tempfile::tempdir().expect("folder");
    let first = folder.path().join("events-20260101T000000Z-000009.jsonl");
    let second = folder.path().join("events-20250101T000000Z-000010.jsonl");
    append(&first, &(line(1) + &line(2)));
    append(&second, &(line(3) + &line(4)[..20]));
    let mut feed = feed(folder.path());
    assert_eq!(take(&mut feed, 3).await.0, ["1", "2", "3"]);
    assert!(is_idle(&mut feed).await, "half a line is none");
    append(&second, &line(4)[20..]);
    assert_eq!(take(&mut feed, 1).await.0, ["4"]);
}

#[tokio::test]
async fn what_is_acked_does_not_come_again_and_the_rest_does() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("events-20260101T000000Z-000001.jsonl");
    append(&path, &(1..=4).map(line).collect::<String>());
    let mut first = feed(folder.path());
    let (_, ack) = take(&mut first, 2).await;
    first.ack(vec![ack]).await.expect("acked");
    take(&mut first, 2).await;
    first.release().await.expect("released");
    assert_eq!(take(&mut first, 2).await.0, ["3", "4"]);
    assert_eq!(
        take(&mut feed(folder.path()), 2).await.0,
        ["3", "4"],
        "another process"
    );
}

#[tokio::test]
async fn lines_that_were_cut_off_and_replaced_are_read() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("events-20260101T000000Z-000001.jsonl");
    append(&path, &(line(1) + &line(2)));
    let mut feed = feed(folder.path());
    let (_, ack) = take(&mut feed, 2).await;
    feed.ack(vec![ack]).await.expect("acked");
    // A failed sync: the sink cuts the second line off, and writes others.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("file");
    file.set_len(line(1).len() as u64).expect("cut");
    append(&path, &(line(7) + &line(8)));
    assert_eq!(take(&mut feed, 3).await.0, ["1", "7", "8"]);
}

#[tokio::test]
async fn a_file_that_was_moved_away_ends_and_the_next_one_follows() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("events-20260101T000000Z-000001.jsonl");
    append(&path, &line(1));
    let mut feed = feed(folder.path());
    take(&mut feed, 1).await;
    fs::remove_file(&path).expect("removed");
    append(
        &folder.path().join("events-20260101T000000Z-000002.jsonl"),
        &line(2),
    );
    assert_eq!(take(&mut feed, 1).await.0, ["2"]);
}

#[tokio::test]
async fn a_line_longer_than_a_block_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let long = line(1).replace(
        r#""body":"1""#,
        &format!(r#""body":"{}""#, "x".repeat(3 * BLOCK)),
    );
    append(
        &folder.path().join("events-20260101T000000Z-000001.jsonl"),
        &(long + &line(2)),
    );
    let (bodies, _) = take(&mut feed(folder.path()), 2).await;
    assert_eq!((bodies[0].len(), bodies[1].as_str()), (3 * BLOCK, "2"));
}

#[tokio::test]
async fn a_folder_that_is_not_there_yet_is_waited_for() {
    let folder = tempfile::tempdir().expect("folder");
    let events = folder.path().join("events");
    let position = folder.path().join(POSITION);
    let mut feed = FolderFeed::open(&events, &position, Duration::from_millis(5)).expect("opened");
    assert!(is_idle(&mut feed).await);
    fs::create_dir(&events).expect("made");
    append(
        &events.join("events-20260101T000000Z-000001.jsonl"),
        &line(1),
    );
    assert_eq!(take(&mut feed, 1).await.0, ["1"]);
}

#[tokio::test]
async fn files_whose_numbers_begin_anew_are_read() {
    let folder = tempfile::tempdir().expect("folder");
    let events = folder.path().join("events");
    fs::create_dir(&events).expect("made");
    let position = folder.path().join(POSITION);
    let open = || FolderFeed::open(&events, &position, Duration::from_millis(5)).expect("opened");
    let old = events.join("events-20260101T000000Z-000007.jsonl");
    append(&old, &line(1));
    let mut before = open();
    let (_, ack) = take(&mut before, 1).await;
    before.ack(vec![ack]).await.expect("acked");
    // All read files were moved away, and the file sink was started again.
    fs::remove_file(&old).expect("moved");
    let new = events.join("events-20260102T000000Z-000001.jsonl");
    append(&new, &line(2));
    let waiting = fs::metadata(&new).expect("there").len();
    assert_eq!(backlog(&events, &position).expect("read"), waiting);
    assert_eq!(take(&mut before, 1).await.0, ["2"], "while it runs");
    assert_eq!(take(&mut open(), 1).await.0, ["2"], "after a start");
}

#[tokio::test]
async fn after_the_position_was_removed_the_folder_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("events-20260101T000000Z-000001.jsonl");
    append(&path, &(line(1) + &line(2)));
    let mut feed = feed(folder.path());
    let (_, ack) = take(&mut feed, 2).await;
    feed.ack(vec![ack]).await.expect("acked");
    append(&path, &line(3));
    let (_, ack) = take(&mut feed, 1).await;
    fs::remove_file(folder.path().join(POSITION)).expect("removed");
    feed.ack(vec![ack])
        .await
        .expect_err("it may be no row any more");
    feed.release().await.expect("released");
    assert_eq!(take(&mut feed, 3).await.0, ["1", "2", "3"]);
}
