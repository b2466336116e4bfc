//! Signs a delivery as GitHub does, and verifies it.

use hookweir_signatures::sign::{SignInputs, sign};
use hookweir_signatures::{
    KeyRing, Request, Scheme, Secret, SourceSpec, UnixMillis, Verdict, verify,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = UnixMillis(1_750_000_000_000);
    let source = SourceSpec {
        secrets: vec![Secret::new(&b"It's a Secret to Everybody"[..])],
        ..SourceSpec::of("github")
    };
    let signed = sign(
        &source,
        &SignInputs {
            body: r#"{"action":"opened"}"#.into(),
            id: "72d3162e-cc78-11e3-81ab-4c9367dc0958".into(),
            event_type: "issues".into(),
            at: now,
            secret: 0,
            private_key: None,
        },
    )?;
    println!("{} /webhooks/github", signed.method);
    for (name, value) in &signed.headers {
        println!("{name}: {}", value.to_str()?);
    }
    println!("\n{}", String::from_utf8_lossy(&signed.body));

    let scheme = Scheme::compile(&source, 1000).map_err(|errors| errors[0].clone())?;
    let request = Request {
        method: signed.method,
        target: "/webhooks/github".into(),
        headers: signed.headers.into(),
        body: signed.body,
        received_at: now,
    };
    match verify(&scheme, &KeyRing::EMPTY, &request, now)? {
        Verdict::Events(verified) => println!("\nverified: {:?}", verified.into_events()[0].id()),
        other => return Err(format!("no event: {other:?}").into()),
    }
    Ok(())
}
