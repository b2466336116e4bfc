//! First bytes of a client, and the answer to them: a process that listens may still serve nobody.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// PostgreSQL's question for TLS, which it answers with one byte before anything else.
const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
/// Protocol header of AMQP 0-9-1.
const AMQP_HEADER: &[u8] = b"AMQP\0\0\x09\x01";
/// First byte of RabbitMQ's answer to the header, if it takes it: the type of a method's frame.
const METHOD_FRAME: u8 = 1;
/// Time that a server has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// PostgreSQL at that address answers.
pub(crate) fn postgres_answers(address: SocketAddr) -> bool {
    answer(address, SSL_REQUEST).is_ok()
}

/// RabbitMQ at that address takes clients.
pub(crate) fn rabbitmq_answers(address: SocketAddr) -> bool {
    answer(address, AMQP_HEADER).is_ok_and(|first| first == METHOD_FRAME)
}

fn answer(address: SocketAddr, greeting: &[u8]) -> std::io::Result<u8> {
    let mut line = TcpStream::connect_timeout(&address, PATIENCE)?;
    line.set_read_timeout(Some(PATIENCE))?;
    line.write_all(greeting)?;
    let mut first = [0];
    line.read_exact(&mut first).map(|()| first[0])
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_that_takes_connections_and_drops_them_serves_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = std::thread::spawn(move || {
            drop(listener.accept());
            let (mut line, _) = listener.accept().expect("a client");
            line.write_all(&[METHOD_FRAME]).expect("an answer");
        });
        assert!(!rabbitmq_answers(address));
        assert!(rabbitmq_answers(address));
        server.join().expect("it ends");
        assert!(!rabbitmq_answers(address), "nobody listens");
    }
}
