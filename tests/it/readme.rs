//! The README against the program: its blocks are pasted into a shell, as a newcomer pastes them. Also the sizes of pages.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the fenced blocks below a heading of the README, without their fences; `language` as behind the fence.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let readme = page("README.md");
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("the README has no \"{heading}\""));
    let found: Vec<String> = section
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .map(|block| format!("{block}\n"))
        .collect();
    assert!(
        !found.is_empty(),
        "\"{heading}\" has no block of {language}"
    );
    found
}

/// A home of a newcomer: a folder with a clone whose program is built, and ports of its own.
struct Newcomer {
    home: tempfile::TempDir,
    listen: String,
    admin: String,
}

impl Newcomer {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let release = home.path().join("target/release");
        fs::create_dir_all(&release).expect("a folder");
        symlink(env!("CARGO_BIN_EXE_hookweir"), release.join("hookweir")).expect("a link");
        let free = || {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
            socket.local_addr().expect("an address").to_string()
        };
        let (listen, admin) = (free(), free());
        Self {
            home,
            listen,
            admin,
        }
    }

    /// Returns a shell that runs `script` in `folder`, which is below the home.
    fn shell(&self, folder: &str, script: &str) -> Command {
        let mut shell = Command::new("bash");
        let program = self.home.path().join("target/release");
        shell
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.home.path().join(folder))
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
            .env("HOOKWEIR__SERVER__LISTEN", &self.listen)
            .env("HOOKWEIR__SERVER__ADMIN_LISTEN", &self.admin);
        shell
    }

    fn run(&self, script: &str) -> Output {
        let output = self.shell(".", script).output().expect("bash");
        assert!(output.status.success(), "{script}: {output:?}");
        output
    }

    /// Starts `script`, which serves until it is dropped, and waits until its port is open.
    fn serve(&self, script: &str) -> Terminal {
        let screen = self.home.path().join("screen");
        let file = fs::File::create(&screen).expect("a file");
        let child = self
            .shell(".", script)
            .process_group(0)
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .stdin(Stdio::null())
            .spawn()
            .expect("bash");
        let mut terminal = Terminal { child, screen };
        let began = Instant::now();
        while TcpStream::connect(&self.listen).is_err() {
            let ended = terminal.child.try_wait().expect("a child");
            assert!(
                ended.is_none() && began.elapsed() < Duration::from_secs(60),
                "does not serve: {ended:?} {}",
                terminal.text()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        terminal
    }
}

/// A terminal in which the service runs; dropping it ends the service.
struct Terminal {
    child: Child,
    screen: PathBuf,
}

impl Terminal {
    fn text(&self) -> String {
        fs::read_to_string(&self.screen).unwrap_or_default()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        _ = Command::new("bash")
            .args(["-c", &format!("kill -KILL -- -{}", self.child.id())])
            .status();
        _ = self.child.wait();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// First word of the first line of `screen` that is not in `shown`, in this order. Lines with `…` differ from run to run.
fn first_word_missing<'a>(screen: &'a str, shown: &str) -> Option<&'a str> {
    let mut rest = shown;
    screen
        .lines()
        .filter(|line| !line.contains('…'))
        .filter_map(|line| line.split_whitespace().next())
        .find(|word| match rest.split_once(word) {
            Some((_, after)) => {
                rest = after;
                false
            }
            None => true,
        })
}

#[test]
fn the_first_screen_is_the_one_in_the_readme_and_send_shows_an_event() {
    let newcomer = Newcomer::new();
    let terminal = newcomer.serve("exec hookweir");
    let screen = blocks("Two commands", "").remove(0);
    let began = Instant::now();
    // The service listens before it has written all of its first screen.
    while let Some(word) = first_word_missing(&screen, &terminal.text()) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "no {word} (in this order) in {}",
            terminal.text()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut blocks = blocks("Two commands", "sh").into_iter();
    let send = blocks.find(|block| block.contains(" send "));
    let output = text(&newcomer.run(&send.expect("a block")));
    assert!(
        output.contains("200 accepted") && output.contains("\"message_id\""),
        "{output}"
    );
}

#[test]
fn the_first_source_can_be_pasted_as_it_stands() {
    let newcomer = Newcomer::new();
    let mut blocks = blocks("Your first source", "sh").into_iter();
    let (first, second) = (blocks.next().expect("two"), blocks.next().expect("two"));
    // The program is on PATH already: nothing is built twice.
    let (install, first): (Vec<&str>, Vec<&str>) =
        first.lines().partition(|line| line.starts_with("cargo "));
    assert_eq!(install.len(), 1, "{install:?}");
    let terminal = newcomer.serve(&first.join("\n"));
    let output = text(&newcomer.run(&second));
    assert!(
        output.contains("200 accepted") && output.contains("\"message_id\""),
        "{output} {}",
        terminal.text()
    );
    assert!(output.contains("401"), "{output}");
}

#[test]
fn the_production_section_writes_a_sound_configuration_and_its_credentials() {
    let newcomer = Newcomer::new();
    let etc = newcomer.home.path().join("etc/hookweir");
    let write = &blocks("In production", "sh")[0];
    let here = etc.to_str().expect("UTF-8");
    newcomer.run(&write.replace("/etc/hookweir", here));
    let check = format!(
        "CREDENTIALS_DIRECTORY={here}/secrets hookweir check --offline --strict --config {here}/config.toml"
    );
    let output = text(&newcomer.run(&check));
    assert!(output.contains("1 source"), "{output}");

    let config = fs::read_to_string(etc.join("config.toml")).expect("the file");
    let unit = page("packaging/hookweir.service");
    for name in config
        .split("credential:")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        let line = format!("#LoadCredential={name}:/etc/hookweir/secrets/{name}\n");
        assert!(unit.contains(&line), "the unit has no {line}");
    }
}

#[test]
fn the_consumers_are_programs() {
    let newcomer = Newcomer::new();
    for (language, check) in [("python", "python3 -m py_compile"), ("js", "node --check")] {
        let program = check.split(' ').next().expect("a word");
        let consumer = blocks("A consumer", language).remove(0);
        let file = newcomer.home.path().join(format!("consumer.{language}"));
        let file = file.with_extension(if language == "js" { "mjs" } else { "py" });
        fs::write(&file, consumer).expect("a file");
        newcomer.run(&format!(
            "! command -v {program} >/dev/null || {check} {}",
            file.display()
        ));
    }
}

#[test]
fn the_readme_counts_the_presets() {
    let newcomer = Newcomer::new();
    let presets = text(&newcomer.run("hookweir providers")).lines().count();
    let readme = page("README.md");
    let named: Vec<usize> = readme
        .split("more than ")
        .skip(1)
        .filter_map(|rest| rest.split(' ').next()?.parse().ok())
        .collect();
    assert!(!named.is_empty());
    for number in named {
        assert!(
            (number..number + 50).contains(&presets),
            "{presets} presets, and the README says more than {number}"
        );
    }
}

#[test]
fn pages_are_as_long_as_their_readers_have_time_for() {
    for (name, lines) in [
        ("docs/operations/tuning.md", 150),
        ("docs/benchmarks/README.md", 60),
    ] {
        let length = page(name).lines().count();
        assert!(length <= lines, "{name} has {length} lines, of {lines}");
    }
    for guide in ["quickstart", "first-source", "production"] {
        let page = page(&format!("docs/guide/{guide}.md"));
        let numbers = page
            .split('`')
            .step_by(2)
            .flat_map(|prose| prose.split_whitespace())
            .filter(|word| word.contains(|char: char| char.is_ascii_digit()))
            .filter(|word| !word.ends_with('.'))
            .count();
        assert!(numbers <= 10, "docs/guide/{guide}.md has {numbers} numbers");
    }
}
