//! `hookweir send` as an operator's test rig: every provider that can be signed for, with every fault, against the real program.

use std::path::Path;
use std::process::{Command, Output};

use hookweir_signatures::spec::{JwtAlg, Kind, SchemeSpec};
use hookweir_signatures::{params_of, presets};
use ring::signature::{KeyPair, RsaKeyPair};

use hookweir_testkit::app::App;

const FAULTS: [&str; 7] = [
    "",
    "--duplicate",
    "--tamper",
    "--stale",
    "--wrong-secret",
    "--truncate",
    "--reorder",
];
/// Hex, and base64 too: whatever a provider's secrets are.
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const RSA: &[u8] = include_bytes!("../../../crates/signatures/tests/data/rsa-for-tests.pk8");

struct Case {
    provider: &'static str,
    spec: SchemeSpec,
    config: String,
    private_key: bool,
}

fn hookweir(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hookweir"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("the program runs")
}

fn rsa_public(spki: bool) -> String {
    let key = RsaKeyPair::from_pkcs8(RSA)
        .expect("a key")
        .public_key()
        .as_ref()
        .to_vec();
    let element = |tag: u8, value: &[u8]| {
        [
            &[tag, 0x82],
            &u16::try_from(value.len()).expect("short").to_be_bytes()[..],
            value,
        ]
        .concat()
    };
    let algorithm = hex::decode("300d06092a864886f70d0101010500").expect("hex");
    hex::encode(if spki {
        element(
            0x30,
            &[algorithm, element(0x03, &[&[0], &key[..]].concat())].concat(),
        )
    } else {
        key
    })
}

/// The source of a provider with keys made for it, and its private key in a file beside.
fn case(provider: &'static str, folder: &Path) -> Option<Case> {
    let spec =
        SchemeSpec::from_table(presets::table(provider).expect("a preset")).expect("in the words");
    let symmetric = |jwt: &hookweir_signatures::spec::JwtSpec| {
        matches!(
            jwt.algorithms[0],
            JwtAlg::HS256 | JwtAlg::HS384 | JwtAlg::HS512
        )
    };
    let rsa_jwt = spec
        .jwt
        .as_ref()
        .is_some_and(|jwt| jwt.algorithms[0] == JwtAlg::RS256);
    let es256 = spec
        .jwt
        .as_ref()
        .is_some_and(|jwt| jwt.algorithms[0] == JwtAlg::ES256);
    let key_file = format!("{provider}.key");
    let mut private_key = true;
    let keys = match spec.kind {
        Kind::None => return None,
        Kind::Basic => {
            private_key = false;
            "secrets = [\"plain:user:long-password\"]".to_owned()
        }
        Kind::Rsa | Kind::Jwt if rsa_jwt || spec.kind == Kind::Rsa => {
            std::fs::write(folder.join(&key_file), RSA).expect("written");
            format!("public_keys = [\"plain:{}\"]", rsa_public(rsa_jwt))
        }
        Kind::Ed25519 | Kind::EcdsaP256 | Kind::Jwt if es256 || spec.kind != Kind::Jwt => {
            let made = hookweir(
                folder,
                &["send", "--provider", provider, "--new-key", &key_file],
            );
            assert!(made.status.success(), "{provider}: {made:?}");
            String::from_utf8(made.stdout).expect("text")
        }
        _ if spec.jwt.as_ref().is_none_or(symmetric) => {
            private_key = false;
            format!(
                "secrets = [\"plain:{SECRET}\", \"plain:{}\"]",
                SECRET.replace("00", "55")
            )
        }
        // Named verifiers in code, and what else nobody can sign for here.
        _ => return None,
    };
    let params: Vec<_> = params_of(&spec)
        .into_iter()
        .map(|(name, value)| format!("{name} = \"{}\"", value.unwrap_or(name.clone())))
        .collect();
    let url = "public_url = \"https://hooks.example.com/ingest/x\"";
    let config = format!(
        "[[source]]\nname = \"{provider}\"\nprovider = \"{provider}\"\ndeadline_ms = 60000\n{keys}\n{url}\nparams = {{ {} }}\n",
        params.join(", ")
    );
    Some(Case {
        provider,
        spec,
        config,
        private_key,
    })
}

impl Case {
    /// The exit code of `send` with a fault: 0 where it was answered as it should be, 64 where the scheme cannot tell.
    fn expected(&self, fault: &str) -> &'static [i32] {
        let rsa = self.spec.kind == Kind::Rsa
            || self
                .spec
                .jwt
                .as_ref()
                .is_some_and(|jwt| jwt.algorithms[0] == JwtAlg::RS256);
        match fault {
            "--wrong-secret" if rsa => &[64],
            "--tamper" | "--truncate" | "--stale" => &[0, 64],
            _ => &[0],
        }
    }

    fn run(&self, app: &App, fault: &str) -> Result<i32, String> {
        let listen = format!("server.listen={}", app.listen);
        let (config, key) = (
            format!("{}.toml", self.provider),
            format!("{}.key", self.provider),
        );
        let mut args = vec!["send", "--timeout", "70", "--config", &config];
        args.extend(["--set", &listen]);
        if self.private_key {
            args.extend(["--private-key", &key]);
        }
        args.extend((!fault.is_empty()).then_some(fault));
        let output = hookweir(app.folder(), &args);
        match output.status.code() {
            Some(code) if self.expected(fault).contains(&code) => Ok(code),
            code => Err(format!(
                "{} {fault}: {code:?} {} {}",
                self.provider,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_provider_with_every_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: Vec<Case> = presets::names()
        .filter_map(|provider| case(provider, folder.path()))
        .collect();
    assert!(
        cases.len() > 200,
        "{} providers can be signed for",
        cases.len()
    );
    let app = App::start(
        &cases
            .iter()
            .map(|case| case.config.as_str())
            .collect::<String>(),
    )
    .await;
    for case in &cases {
        std::fs::write(
            app.folder().join(format!("{}.toml", case.provider)),
            &case.config,
        )
        .expect("written");
        if case.private_key {
            let key = format!("{}.key", case.provider);
            std::fs::copy(folder.path().join(&key), app.folder().join(&key)).expect("copied");
        }
    }
    let (mut failures, mut refused) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let app = &app;
        let share = |cases: &'_ [Case]| -> Vec<Result<(bool, i32), String>> {
            let each = cases
                .iter()
                .flat_map(|case| FAULTS.map(|fault| (case, fault)));
            each.map(|(case, fault)| {
                case.run(app, fault).map(|code| {
                    (
                        matches!(
                            fault,
                            "--tamper" | "--stale" | "--wrong-secret" | "--truncate"
                        ),
                        code,
                    )
                })
            })
            .collect()
        };
        let threads: Vec<_> = cases
            .chunks(cases.len().div_ceil(4))
            .map(|cases| scope.spawn(move || share(cases)))
            .collect();
        for result in threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
        {
            match result {
                Ok((fault, code)) => refused += usize::from(fault && code == 0),
                Err(failure) => failures.push(failure),
            }
        }
    });
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        cases.len() * FAULTS.len(),
        failures.join("\n")
    );
    assert!(refused > 500, "{refused} faults were refused");
}
