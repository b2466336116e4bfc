//! The queue behind PostgreSQL: RabbitMQ or Kafka.

use std::cell::RefCell;
use std::error::Error;
use std::fs;

use hookweir_testkit::kafka::{count, create_topic, unique};
use hookweir_testkit::processes::Processes;
use hookweir_testkit::servers::{Server, fetch_kafka};

use super::servers::Rabbit;

/// Partitions of a topic.
const PARTITIONS: i32 = 3;

/// A running queue.
pub(crate) enum Queue {
    Rabbit(Rabbit),
    Kafka(Kafka),
}

/// Kafka of one node. Each measurement has a topic of its own.
pub(crate) struct Kafka {
    pub(crate) server: Server,
    topic: RefCell<String>,
}

impl Kafka {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        fetch_kafka()?;
        Ok(Self {
            server: Server::kafka(),
            topic: RefCell::default(),
        })
    }

    /// A topic that nobody has, and no setting of ours.
    pub(crate) fn new_topic(&self) -> String {
        let topic = unique();
        create_topic(&self.server.url, &topic, PARTITIONS, &[]);
        topic
    }

    fn pid(&self) -> Option<u32> {
        let file = self.server.files().join("kafka.pid");
        fs::read_to_string(file).ok()?.trim().parse().ok()
    }
}

impl Queue {
    /// RabbitMQ, for what is measured with no other.
    pub(crate) fn rabbit(&self) -> Result<&Rabbit, Box<dyn Error>> {
        match self {
            Self::Rabbit(rabbit) => Ok(rabbit),
            Self::Kafka(_) => Err("this is measured with RabbitMQ only: --backend servers".into()),
        }
    }

    fn server(&self) -> &Server {
        match self {
            Self::Rabbit(rabbit) => &rabbit.server,
            Self::Kafka(kafka) => &kafka.server,
        }
    }

    /// Settings of a service that publishes to it. `kind` is the type of RabbitMQ's queue.
    pub(crate) fn settings(&self, kind: &str) -> Vec<String> {
        let url = format!("publisher.url={}", self.server().url);
        let further = match self {
            Self::Rabbit(_) => format!("publisher.queue_type={kind}"),
            Self::Kafka(kafka) => format!("publisher.topic={}", kafka.topic.borrow()),
        };
        vec![url, further]
    }

    /// Adds its process.
    pub(crate) fn add_to(&self, processes: &mut Processes) {
        match self {
            Self::Rabbit(rabbit) => processes.rabbitmq = Some(rabbit.pid),
            Self::Kafka(kafka) => processes.kafka = kafka.pid(),
        }
    }

    /// Events in the queue, where it can be asked.
    pub(crate) fn messages(&self, kind: &str) -> Result<Option<u64>, Box<dyn Error>> {
        match self {
            // RabbitMQ 3.10 tells no number of messages in a stream when asked in this way.
            Self::Rabbit(_) if kind == "stream" => Ok(None),
            Self::Rabbit(rabbit) => Ok(Some(rabbit.messages("hookweir.events")?)),
            Self::Kafka(kafka) => Ok(Some(count(&kafka.server.url, &kafka.topic.borrow()))),
        }
    }

    /// Makes room for another measurement.
    pub(crate) fn clear(&self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Rabbit(rabbit) => rabbit.clear(),
            Self::Kafka(kafka) => {
                kafka.topic.replace(kafka.new_topic());
                Ok(())
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.server().stop();
    }

    /// Starts it again, where it was stopped.
    pub(crate) fn start_again(&mut self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Rabbit(rabbit) => rabbit.start_again(),
            Self::Kafka(kafka) => {
                kafka.server.start();
                Ok(())
            }
        }
    }
}
