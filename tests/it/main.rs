//! All integration tests, in one binary. What needs PostgreSQL or RabbitMQ is in modules whose path contains `with_servers`, and what
//! needs Kafka in those with `with_kafka`; `tests/run` provides the servers.

#![expect(
    unreachable_pub,
    reason = "the modules of a test binary have no outside"
)]

mod architecture;
mod check;
mod cli_config;
mod cli_send;
mod commands;
#[cfg(feature = "failpoints")]
mod deaths;
#[cfg(feature = "failpoints")]
mod disks;
mod e2e;
mod edge;
mod field;
mod first_day;
mod http_edge;
mod http_hostile;
mod http_support;
mod layers_page;
mod logging;
mod operator;
#[cfg(feature = "failpoints")]
mod power_loss;
mod protocol_model;
mod providers;
mod publish_file;
#[cfg(feature = "kafka")]
mod publish_kafka;
mod publish_rabbitmq;
mod publish_rig;
mod readme;
mod republish_model;
mod signals;
mod sink_contract;
mod spool;
mod store_contract;
#[cfg(feature = "traces")]
mod traces;
mod upgrade;
mod watching;
