//! Negative controls: mistakes that the campaign must catch, or its silence says nothing. A control is a row of the table played with a
//! mistake switched on; it passes when the row misses its figures, and in the way that the mistake should show.

use crate::rows::{self, Row};
use crate::scene::Setup;

/// A mistake, and where it shows.
#[derive(Clone, Copy)]
pub struct Control {
    pub name: &'static str,
    pub about: &'static str,
    /// Name of the row that is played.
    pub row: &'static str,
    /// Switches the mistake on.
    pub mistake: fn(&mut Setup),
    /// One of what the row misses begins with one of these.
    pub caught_by: &'static [&'static str],
}

const CONTROLS: &[Control] = &[
    Control {
        name: "clock-believed",
        about: "rows are due by whatever the clock said when they were written",
        row: "clock-ahead-pg",
        mistake: |setup| {
            setup
                .environment
                .push(("HOOKWEIR_CONTROL", "clock_believed".into()))
        },
        caught_by: &["lost", "left over"],
    },
    Control {
        name: "clock-believed-host",
        about: "what the spool holds is as old as the clock says",
        row: "clock-ahead-host",
        mistake: |setup| makes(setup, "clock_believed"),
        caught_by: &["takes events in an outage with its clock ahead"],
    },
    Control {
        name: "clock-believed-sqlite",
        about: "rows of SQLite are due by whatever the clock said when they were written",
        row: "clock-ahead-sqlite",
        mistake: |setup| makes(setup, "clock_believed"),
        caught_by: &["lost", "left over"],
    },
    Control {
        name: "spool-stays",
        about: "a broken spool stays where it is",
        row: "spool-garbage",
        mistake: |setup| makes(setup, "broken_spool_stays"),
        caught_by: &["sets the broken spool aside"],
    },
    Control {
        name: "secret-left-out",
        about: "a reload leaves the secret out that is still in use",
        row: "reloads",
        mistake: rows::operator::careless,
        caught_by: &["wrong 4xx"],
    },
    Control {
        name: "nothing-sent-again",
        about: "after a restore, nobody sends again what came after the backup",
        row: "backup-restore",
        mistake: |setup| setup.redeliver_all = false,
        caught_by: &["lost"],
    },
    Control {
        name: "not-moved",
        about: "the service is started on the new store without a move",
        row: "move-killed",
        mistake: rows::operator::careless,
        // Without the keys, a retry is a second event, and another body under a known id takes the place of the first.
        caught_by: &["lost", "accepted twice", "corrupt", "copies outside"],
    },
    Control {
        name: "retention-stays-slow",
        about: "a retention that falls behind is left alone",
        row: "retention-slow",
        mistake: rows::operator::careless,
        caught_by: &["old events are gone"],
    },
    Control {
        name: "early-cache",
        about: "a key is remembered before its event is committed",
        row: "pg-terminate",
        mistake: |setup| {
            setup.without_spool();
            setup
                .environment
                .push(("HOOKWEIR_CONTROL", "cache_before_commit".into()));
        },
        caught_by: &["lost"],
    },
    Control {
        name: "no-sync",
        about: "PostgreSQL answers before a commit is on disk (synchronous_commit = off)",
        row: "power",
        mistake: |setup| {
            setup.set("store.allow_unsafe_durability", true);
            // What RabbitMQ has been sent already outlives PostgreSQL.
            setup.set("publisher.window", 8);
            setup
                .environment
                .push(("HOOKWEIR_CONTROL", "synchronous_commit_off".into()));
        },
        caught_by: &["lost"],
    },
    Control {
        name: "wrong-ack",
        about: "a returned message is taken for that of the confirm it came with",
        row: "mq-unrouted",
        mistake: |setup| {
            setup
                .environment
                .push(("HOOKWEIR_CONTROL", "ack_per_confirm".into()))
        },
        caught_by: &["lost"],
    },
    Control {
        name: "unsorted",
        about: "keys go into the database in any order",
        row: "race",
        mistake: |setup| {
            rows::operator::careless(setup);
            makes(setup, "unsorted_batches");
        },
        caught_by: &["no deadlocks"],
    },
    Control {
        name: "no-sweep",
        about: "rows of its own that an instance does not have in memory are left alone",
        row: "pg-ambiguous",
        mistake: |setup| {
            setup.without_spool();
            setup
                .environment
                .push(("HOOKWEIR_CONTROL", "no_own_row_sweep".into()));
        },
        caught_by: &["lost", "left over"],
    },
    Control {
        name: "log-at-once-gone",
        about: "a log line is written by the thread that has something to tell, and a reader that is gone makes it panic",
        row: "log-gone",
        mistake: writes_log_at_once,
        caught_by: &["goes on running without its log"],
    },
    Control {
        name: "log-at-once-stalled",
        about: "a log line is written by the thread that has something to tell, which waits for a reader that stands still",
        row: "log-stalled",
        mistake: writes_log_at_once,
        caught_by: &["takes events while its log is not read"],
    },
    Control {
        name: "log-at-once-full",
        about: "a log line is written by the thread that has something to tell, and a full disk makes it panic",
        row: "log-disk-full",
        mistake: writes_log_at_once,
        caught_by: &["goes on running without its log"],
    },
    Control {
        name: "session-settings",
        about: "settings are those of the session, though a pooler changes it",
        row: "pg-pooler",
        mistake: |setup| {
            setup
                .environment
                .push(("HOOKWEIR_CONTROL", "settings_of_the_session".into()))
        },
        caught_by: &["no commit that is not durable"],
    },
    Control {
        name: "rows-to-blame",
        about: "a row that PostgreSQL does not store is taken to be at fault",
        row: "pg-few",
        mistake: |setup| {
            setup
                .environment
                .push(("HOOKWEIR_CONTROL", "rows_to_blame".into()))
        },
        caught_by: &["lost"],
    },
    Control {
        name: "blame-read-only",
        about: "a row that a read-only PostgreSQL does not store is taken to be at fault",
        row: "pg-read-only",
        mistake: |setup| makes(setup, "rows_to_blame"),
        caught_by: &["lost"],
    },
    Control {
        name: "blame-revoked",
        about: "a row that may not be stored is taken to be at fault",
        row: "pg-revoked",
        mistake: |setup| makes(setup, "rows_to_blame"),
        caught_by: &["lost"],
    },
    Control {
        name: "bodies-dropped",
        about: "another body under a spooled id that the store knows is taken for a copy",
        row: "pg-other-bodies",
        mistake: |setup| makes(setup, "other_bodies_dropped"),
        caught_by: &["lost"],
    },
    Control {
        name: "no-shares",
        about: "any body may have the last of the room, whatever its source and its size",
        row: "held-open",
        mistake: |setup| {
            setup
                .environment
                .push(("HOOKWEIR_CONTROL", "no_shares".into()))
        },
        caught_by: &["the other sources find room"],
    },
    Control {
        name: "idle-for-ever",
        about: "no idle connection is closed for one that comes",
        row: "idle",
        mistake: |setup| {
            setup
                .environment
                .push(("HOOKWEIR_CONTROL", "idle_for_ever".into()))
        },
        caught_by: &["a newcomer is answered while others idle"],
    },
    Control {
        name: "kafka-not-idempotent",
        about: "Kafka writes a record once more if its confirm was lost",
        row: "kafka-cut",
        mistake: |setup| makes(setup, "not_idempotent"),
        caught_by: &["copies"],
    },
    Control {
        name: "kafka-zero-acks",
        about: "a record that was sent to Kafka is taken for confirmed",
        row: "kafka-kill",
        mistake: |setup| makes(setup, "zero_acks"),
        caught_by: &["lost"],
    },
    Control {
        name: "kafka-one-ack",
        about: "a record that the leader of its partition alone has is taken for confirmed (acks=1)",
        row: "kafka-leader-alone",
        mistake: |setup| makes(setup, "one_ack"),
        caught_by: &["lost"],
    },
    Control {
        name: "kafka-shared-batch",
        about: "records that go alone share a record batch, as with a producer that channels share",
        row: "kafka-too-large",
        mistake: |setup| makes(setup, "shared_batch"),
        caught_by: &["nothing else is parked"],
    },
];

fn writes_log_at_once(setup: &mut Setup) {
    makes(setup, "log_at_once");
}

/// Switches a mistake of `control.rs` on.
fn makes(setup: &mut Setup, mistake: &str) {
    setup.environment.push(("HOOKWEIR_CONTROL", mistake.into()));
}

/// The controls that were asked for.
pub fn chosen(wanted: &str) -> Result<Vec<Control>, String> {
    crate::options::choose(CONTROLS, |control| control.name, wanted)
}

impl Control {
    /// The row with the mistake in it.
    pub fn row(&self) -> Row {
        let mut row = rows::chosen(self.row).expect("controls name rows that there are")[0];
        (row.name, row.mistake) = (self.name, Some(self.mistake));
        row
    }

    /// Returns true if the row missed a figure that the mistake should make it miss.
    pub fn is_caught(&self, missed: &[String]) -> bool {
        missed.iter().any(|what| {
            self.caught_by
                .iter()
                .any(|beginning| what.starts_with(beginning))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser as _;

    use crate::options::Options;

    use super::*;

    #[test]
    fn each_control_plays_a_row_with_its_mistake() {
        let controls = chosen("all").expect("all controls");
        let names: BTreeSet<_> = controls.iter().map(|control| control.name).collect();
        assert_eq!(names.len(), controls.len(), "a name is used twice");
        for control in controls {
            let row = control.row();
            assert_eq!(row.name, control.name);
            assert!(row.mistake.is_some());
            assert!(control.is_caught(&[format!("{}: 1", control.caught_by[0])]));
            assert!(!control.is_caught(&["something else: 1".into()]));
        }
    }

    #[test]
    fn two_parts_play_each_row_once() {
        let rows = rows::chosen("all").expect("all rows");
        let part = |part: &str| {
            let options = Options::parse_from(["campaign", "--part", part]);
            options.share(rows.clone())
        };
        let mut names: Vec<_> = [part("1/2"), part("2/2")]
            .concat()
            .iter()
            .map(|row| row.name)
            .collect();
        let mut all: Vec<_> = rows.iter().map(|row| row.name).collect();
        names.sort_unstable();
        all.sort_unstable();
        assert_eq!(names, all);
    }

    #[test]
    fn an_unknown_name_is_refused_and_a_star_takes_all_of_a_kind() {
        assert!(rows::chosen("pg-nothing").is_err());
        let of_a_kind = rows::chosen("mq-*").expect("rows of RabbitMQ");
        assert!(of_a_kind.len() > 1);
        assert!(of_a_kind.iter().all(|row| row.name.starts_with("mq-")));
    }
}
