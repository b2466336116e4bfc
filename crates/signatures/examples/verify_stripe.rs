//! Verifies a delivery of Stripe. The time of its arrival is an argument, so that the delivery stays fresh.

use hookweir_signatures::{
    KeyRing, Request, Scheme, Secret, SourceSpec, UnixMillis, Verdict, verify,
};

const SIGNATURE: &str =
    "t=1750000000,v1=b9b2648f8db255c53a08fd5d392b85cf7297218b8baa6378a27881053586afc9";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = SourceSpec {
        secrets: vec![Secret::new(&b"whsec_0123456789abcdef0123456789abcdef"[..])],
        ..SourceSpec::of("stripe")
    };
    // Once for each source.
    let scheme = Scheme::compile(&source, 1000).map_err(|errors| errors[0].clone())?;
    println!("stripe: {}", scheme.describe());

    // Once for each delivery.
    let request = Request {
        method: http::Method::POST,
        target: "/webhooks/stripe".into(),
        headers: [("stripe-signature".parse()?, SIGNATURE.parse()?)]
            .into_iter()
            .collect(),
        body: r#"{"id":"evt_1","type":"charge.refunded"}"#.into(),
        received_at: UnixMillis(1_750_000_001_000),
    };
    match verify(&scheme, &KeyRing::EMPTY, &request, request.received_at)? {
        Verdict::Events(verified) => {
            for event in verified.into_events() {
                println!(
                    "accepted: {} ({})",
                    event.id().unwrap_or("no id"),
                    event.event_type.as_deref().unwrap_or("no type")
                );
            }
        }
        other => println!("no event: {other:?}"),
    }

    let forged = Request {
        body: r#"{"id":"evt_1","type":"charge.succeeded"}"#.into(),
        ..request
    };
    match verify(&scheme, &KeyRing::EMPTY, &forged, forged.received_at) {
        Err(refusal) => println!("refused: {:?}: {refusal}", refusal.reason),
        Ok(verdict) => return Err(format!("a forged delivery was accepted: {verdict:?}").into()),
    }
    Ok(())
}
