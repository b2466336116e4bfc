//! Moves that meet another command, another store, or an instance of the other store.

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, SqliteConnection};
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::servers::postgres;

use super::backup::{Kind, deliver};
use super::relocation::{Stream, Target, account, restart_with};
use super::{hookweir, ids, json};

/// Service with published events.
async fn with_events(kind: Kind, count: usize) -> (App, Stream) {
    let app = App::start(&format!("{}{}", kind.config(), five_sources())).await;
    let mut stream = Stream::default();
    stream.send(&app, count).await;
    app.drained().await;
    (app, stream)
}

/// Opens the store again while the command is about to copy the rest.
async fn cancelled(kind: Kind) {
    let (mut app, mut stream) = with_events(kind, 30).await;
    let target = Target::new();
    let held = target.hold(&app, "move_alone").await;
    let said = hookweir(&app, &["move", "--cancel"]).good();
    assert!(said.contains("open again"), "{said}");
    app.ready().await;
    stream.send(&app, 5).await;
    let (code, said) = held.let_go().await;
    assert!(
        code == Some(69) && said.contains("was opened again"),
        "{code:?} {said}"
    );
    app.ready().await;
    assert_eq!(account(&app, &stream).await, 0, "published once");

    let (code, said) = target.move_here(&app, None).await;
    assert_eq!(code, Some(0), "the next one begins anew: {said}");
    restart_with(&mut app, &target.config()).await;
    stream.send(&app, 5).await;
    assert_eq!(account(&app, &stream).await, 0);
}

/// Ends the move by a second command, and serves from the target, before the first command goes on.
async fn second_command(kind: Kind) {
    let (mut app, mut stream) = with_events(kind, 30).await;
    let target = Target::new();
    let held = target.hold(&app, "move_alone").await;
    let (code, said) = target.move_here(&app, None).await;
    assert_eq!(code, Some(0), "{said}");
    restart_with(&mut app, &target.config()).await;
    stream.send(&app, 5).await;
    app.drained().await;
    let (code, said) = held.let_go().await;
    assert!(
        code == Some(69) && said.contains("another command"),
        "{code:?} {said}"
    );
    stream.send(&app, 5).await;
    assert_eq!(account(&app, &stream).await, 0);
    let listed = json(&app, &["events", "--limit", "1000"]);
    assert_eq!(listed.len(), 40, "the target holds what came to it");
}

/// Tests that need a server.
mod with_servers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_move_that_was_cancelled_while_it_copied_fails_and_events_that_came_meanwhile_are_published()
     {
        cancelled(Kind::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_move_of_postgresql_that_was_cancelled_fails_and_events_that_came_meanwhile_are_published()
     {
        cancelled(Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_command_that_hung_while_another_has_ended_the_move_changes_nothing_in_the_live_store()
     {
        second_command(Kind::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_command_that_hung_while_another_has_moved_postgresql_changes_nothing_in_the_live_store()
     {
        second_command(Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_store_under_the_name_of_one_whose_move_was_cut_off_brings_its_own_events_alone()
     {
        let (mut app, first) = with_events(Kind::Sqlite, 30).await;
        let target = Target::new();
        let (code, said) = target.move_here(&app, Some("move_copying")).await;
        assert_eq!(code, None, "{said}");
        app.stop().await;
        let data = app.folder().join("data");
        std::fs::rename(data.join("hookweir.db"), data.join("other.db")).expect("renamed");
        for log in ["hookweir.db-wal", "hookweir.db-shm"] {
            let _ = std::fs::remove_file(data.join(log));
        }
        app.start_again().await;
        app.ready().await;
        let mut stream = Stream::default();
        stream.send(&app, 40).await;
        app.drained().await;
        // Leases of a clock that was an hour ahead are none.
        let file = data.join("hookweir.db");
        let mut database = SqliteConnection::establish(&file.to_string_lossy()).expect("opened");
        database
            .batch_execute(
                "PRAGMA busy_timeout = 30000;
                 INSERT INTO instance (id, alive_until, lease_ms)
                 VALUES (x'00000000000000000000000000000001', (unixepoch() + 3600) * 1000, 3000)",
            )
            .expect("stored");
        let (code, said) = target.move_here(&app, None).await;
        assert_eq!(code, Some(0), "{said}");
        restart_with(&mut app, &target.config()).await;
        assert_eq!(account(&app, &stream).await, 0);
        let listed = json(&app, &["events", "--limit", "1000"]);
        let listed: BTreeSet<&str> = ids(&listed).into_iter().collect();
        let sent = stream.taken.iter().map(|(event, _)| event.id.as_str());
        assert_eq!(listed, sent.collect());
        for (event, _) in &first.taken {
            assert!(deliver(&app, event).await.1, "{} is another's", event.id);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn events_of_an_instance_that_serves_too_early_and_sees_no_mark_wait_for_the_end_of_the_move()
     {
        let (mut app, mut stream) = with_events(Kind::Sqlite, 30).await;
        let target = Target::new();
        let held = target.hold(&app, "move_claimed").await;
        // As a release that knows no mark: it may not read it.
        let role = format!("role_{}", uuid::Uuid::now_v7().simple());
        let mut database = PgConnection::establish(&postgres()).expect("connected");
        database
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {0} TO {role};
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {0} TO {role};
                 GRANT USAGE ON ALL SEQUENCES IN SCHEMA {0} TO {role};
                 REVOKE ALL ON {0}.relocation FROM {role}",
                target.schema
            ))
            .expect("granted");
        let url = postgres().replace("postgres://postgres@", &format!("postgres://{role}@"));
        let store = format!("{}migrate = \"check\"\n", target.config_of(&url));
        let early = App::start(&format!("{store}{}", five_sources())).await;
        let mut early_stream = Stream::default();
        early_stream.send(&early, 5).await;
        database
            .batch_execute(&format!(
                "DO $$ BEGIN IF EXISTS (SELECT FROM {}.dedup) THEN RAISE EXCEPTION 'stored'; END IF; END $$",
                target.schema
            ))
            .expect("nothing is stored there yet");
        let (code, said) = held.let_go().await;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(account(&early, &early_stream).await, 0);
        restart_with(&mut app, &target.config()).await;
        stream.send(&app, 5).await;
        assert_eq!(account(&app, &stream).await, 0);
        for (event, id) in &early_stream.taken {
            assert_eq!(deliver(&app, event).await, (id.clone(), false));
        }
    }
}
