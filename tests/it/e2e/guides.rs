//! Blocks of the guides, pasted into a shell as they stand.

use std::path::Path;
use std::process::Command;

use hookweir_testkit::app::App;
use hookweir_testkit::program;

use super::with_servers::blocking;

/// Returns the blocks of a guide that are pasted into a shell.
pub(super) fn recipe(guide: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/guide")
        .join(guide);
    let page = std::fs::read_to_string(path).expect("the page");
    let blocks = page.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    blocks.map(|block| format!("{block}\n")).collect()
}

/// Runs a block as it stands, but for the folder and the addresses of `others`, which are this test's. There is no systemd: a restart is
/// one of the test's process. Returns what the block printed.
pub(super) async fn paste(app: &mut App, block: &str, others: &[(&str, &str)]) -> String {
    let here = app.folder().display().to_string();
    let mut block = block.replace("/etc/hookweir", &here);
    for (of_page, of_test) in others {
        block = block.replace(of_page, of_test);
    }
    let restart = "systemctl restart hookweir\n";
    let mut printed = String::new();
    for (at, part) in block.split(restart).enumerate() {
        if at > 0 {
            let status = app.stop().await;
            assert!(status.success(), "a stop in order: {}", app.log());
            app.start_again().await;
        }
        // Each part has a shell of its own.
        let exports = block.lines().filter(|line| line.starts_with("export "));
        let exports: String = exports.map(|line| format!("{line}\n")).collect();
        let bin = program().parent().expect("a folder").display().to_string();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &format!("{exports}{part}")])
            .current_dir(app.folder())
            .env_clear()
            .env("PATH", format!("{bin}:/usr/bin:/bin"))
            .env("HOOKWEIR__SERVER__ADMIN_LISTEN", app.admin.to_string())
            .output();
        let output = blocking(|| output).expect("bash");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{part}: {text}");
        printed.push_str(&text);
    }
    printed
}
