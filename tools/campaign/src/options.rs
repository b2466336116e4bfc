//! Options of a run, explained by `tests/campaign --help`.

use std::path::PathBuf;
use std::time::Duration;

/// The command line.
#[derive(Debug, clap::Parser)]
#[command(name = "tests/campaign", disable_help_flag = true)]
pub struct Options {
    #[arg(long, default_value_t = fastrand::u32(..).into())]
    pub seed: u64,
    #[arg(long, default_value_t = 0)]
    pub events: usize,
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
    #[arg(long)]
    pub minutes: Option<u64>,
    #[arg(long, default_value_t = 300.0)]
    pub rate: f64,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    #[arg(long, default_value_t = 10)]
    outage: u64,
    #[arg(long, default_value = "all")]
    pub faults: String,
    #[arg(long, default_value = "all")]
    pub controls: String,
    #[arg(long, value_parser = part)]
    pub part: Option<(usize, usize)>,
    #[arg(long)]
    pub no_timing: bool,
    #[arg(long)]
    pub list: bool,
    #[arg(long, default_value = "target/campaign.json")]
    pub json: PathBuf,
}

impl Options {
    /// Returns this part's share of everything that was chosen.
    pub fn share<T>(&self, chosen: Vec<T>) -> Vec<T> {
        let (part, of) = self.part.unwrap_or((1, 1));
        chosen
            .into_iter()
            .enumerate()
            .filter(|(at, _)| at % of == part - 1)
            .map(|(_, one)| one)
            .collect()
    }

    /// Returns the time for which a stopped server stays away.
    pub fn outage(&self) -> Duration {
        Duration::from_secs(self.outage)
    }
}

/// "1/2" is the first of two parts.
fn part(text: &str) -> Result<(usize, usize), String> {
    let numbers = text
        .split_once('/')
        .and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    numbers
        .filter(|(part, of)| (1..=*of).contains(part))
        .ok_or_else(|| "such as 1/2".to_owned())
}

/// Returns the items of `all` that `wanted` names: "all", "none", or names with commas between. "pg-*" is all that begin so, "-pg-*" leaves
/// them out.
pub fn choose<T: Copy>(
    all: &[T],
    name: impl Fn(&T) -> &str,
    wanted: &str,
) -> Result<Vec<T>, String> {
    let mut chosen = Vec::new();
    for word in wanted.split(',').filter(|word| *word != "none") {
        let (without, named) = match word.strip_prefix('-') {
            Some(named) => (true, named),
            None => (false, word),
        };
        let fits = |item: &T| match named.strip_suffix('*') {
            Some(beginning) => name(item).starts_with(beginning),
            None => named == "all" || named == name(item),
        };
        if !all.iter().any(fits) {
            return Err(format!("there is no \"{named}\""));
        }
        if without {
            chosen.retain(|item| !fits(item));
        } else {
            chosen.extend(all.iter().filter(|item| fits(item)).copied());
        }
    }
    Ok(chosen)
}
