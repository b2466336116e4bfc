//! HTTP alone: actix-web, one HMAC over the body, an answer. In a process of its own, as the service is.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hmac::Mac;

use super::Options;
use crate::generator::{self, Load, Mix, Pace};
use crate::requests::{self, Requests};

/// The argument that makes this program the server.
pub(crate) const SERVE: &str = "serve-ceiling";

/// Requests a second.
pub(super) fn measure(options: Options<'_>) -> Result<f64, Box<dyn Error>> {
    let (_server, target) = Server::start()?;
    let start = Instant::now();
    let count_from = start + Duration::from_secs(1);
    let load = Load {
        target: target.into(),
        pace: Pace::Closed(options.connections),
        mix: Mix::default(),
        start,
        count_from,
        end: count_from + options.time,
    };
    let answers = generator::run(&load, &mut Requests::new(options.body))?;
    if answers.accepted < answers.all() {
        return Err(format!(
            "{} of {} answers were not as they should be",
            answers.all() - answers.accepted,
            answers.all()
        )
        .into());
    }
    Ok(answers.accepted as f64 / options.time.as_secs_f64())
}

struct Server(Child);

impl Server {
    fn start() -> Result<(Self, SocketAddr), Box<dyn Error>> {
        let program = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut server = Self(program);
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok((server, line.trim().parse()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves until it is killed, and says where.
pub(crate) fn serve() -> Result<(), Box<dyn Error>> {
    actix_web::rt::System::new().block_on(async {
        let app = || {
            let route = web::post().to(take);
            App::new()
                .app_data(web::PayloadConfig::new(8 << 20))
                .route("/ingest/stripe", route)
        };
        let server = HttpServer::new(app).bind(("127.0.0.1", 0))?;
        println!("{}", server.addrs().first().ok_or("no address")?);
        server.run().await?;
        Ok(())
    })
}

async fn take(request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let signed = request
        .headers()
        .get("stripe-signature")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            let (time, signature) = value.strip_prefix("t=")?.split_once(",v1=")?;
            let mut expected = [0; 32];
            hex::decode_to_slice(signature, &mut expected).ok()?;
            requests::mac()
                .chain_update(time)
                .chain_update(".")
                .chain_update(&body)
                .verify_slice(&expected)
                .ok()
        });
    match signed {
        Some(()) => HttpResponse::Ok()
            .content_type("application/json")
            .body(r#"{"id":"0193f1c2-a8e0-7b3f-9d1c-5e2a4b6c8d0e","status":"accepted"}"#),
        None => HttpResponse::Unauthorized().finish(),
    }
}
