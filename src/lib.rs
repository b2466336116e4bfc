//! Hookweir receives webhooks, proves who sent them, stores each event once, answers, and passes it on to a queue.
//!
//! # The life of a delivery
//!
//! Follow one POST through the modules, in this order:
//!
//! 1. [`http`] admits the request, reads its raw body within bounds, and hands it on with a [ticket](in_flight::Ticket), which will get
//!    exactly one [outcome](domain::outcome::Outcome). *From here on a sender gets an answer, whatever happens.*
//! 2. [`verify`] (a stage around [`hookweir_signatures`], which knows 249 providers) proves the sender and takes the event's id out of the proven bytes. *What it refuses is never an event, cached or looked up; [`quarantine`] keeps it aside.*
//! 3. [`dedup`] answers what it knows, joins what is being stored, and batches the rest. *No answer yet.*
//! 4. [`store`] commits key, event and outbox row in one transaction. *Now the event is durable, and only now the sender is answered 2xx.*
//! 5. [`publish`] sends the committed event to the queue, and takes its row out of the outbox when the queue has confirmed it. *A row that is
//!    left over for whatever reason is found by the relay.*
//!
//! While the store is away, [`spool`] takes its place in step 4, on a local disk, and brings the events to it later.
//!
//! Each message stands beside its receiver; [`runtime::mailbox`] bounds how many may wait; [`app`] wires them and [`runtime::shutdown`]
//! ends them. [`keys`] gets the keys that [`verify`] needs and the configuration lacks. [`domain::delivery`] has the words.
//!
//! `docs/internals/architecture.md` has the drawing, the bounds, and what fails how.

// Printing panics if nobody reads it; `cli::say` is the only module that prints.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod dedup;
pub mod doctor;
pub mod domain;
pub mod faults;
pub mod http;
pub mod in_flight;
pub mod keys;
pub mod lakehouse;
pub mod operate;
pub mod outbox;
pub mod publish;
pub mod quarantine;
pub mod runtime;
pub mod source;
pub mod spool;
pub mod store;
pub mod telemetry;
pub mod verify;
