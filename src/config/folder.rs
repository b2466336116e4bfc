//! Sources in a folder: `sources.d/*.toml` beside the configuration.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use super::error::{ConfigError, Problem};
use super::layers::Layer;

/// Name of the folder, beside the configuration.
const FOLDER: &str = "sources.d";
/// Most files there.
const MOST: usize = 10_000;
/// Most bytes of a file.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A file that was read.
#[derive(Debug, Clone)]
pub(super) struct TextFile {
    /// Its name, as errors show it.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
}

impl TextFile {
    /// Reads a file, at most [`MAX_BYTES`]. Fails with one mistake.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<ConfigError>> {
        let name = path.display().to_string();
        match fs::File::open(path).and_then(text) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(unreadable(&name, &error)),
        }
    }

    /// Reads a file of the folder. Anything but a regular file is a mistake: opening a pipe waits for its writer.
    fn read_regular(path: &Path) -> Result<Self, Vec<ConfigError>> {
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => Err(unreadable(
                &path.display().to_string(),
                &"it is no regular file; move it out of the folder",
            )),
            // A file that is away is named where it is read.
            _ => Self::read(path),
        }
    }
}

/// Returns the text of a file, at most [`MAX_BYTES`].
fn text(file: fs::File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        let text = format!("it has more than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(text)
}

/// Returns the mistake of a file that cannot be read.
fn unreadable(name: &str, why: &dyn fmt::Display) -> Vec<ConfigError> {
    let text = format!("cannot read the configuration {name}: {why}");
    vec![ConfigError::nowhere(text)]
}

/// Returns the files of the folder beside the configuration `file`, in the order of their names. Without the folder there are none.
pub(super) fn beside(file: &Path) -> Result<Vec<TextFile>, Vec<ConfigError>> {
    let folder = file.with_file_name(FOLDER);
    let folder_unreadable = |error: io::Error| {
        let text = format!("cannot read the folder {}: {error}", folder.display());
        vec![ConfigError::nowhere(text)]
    };
    // A link to a folder that is away, or a disk that fails, is a mistake: its sources would be gone.
    match fs::symlink_metadata(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(folder_unreadable(error)),
        Ok(_) => {}
    }
    let files = names(&folder).map_err(folder_unreadable)?;
    if files.len() > MOST {
        let text = format!("{} has more than {MOST} files", folder.display());
        return Err(vec![ConfigError::nowhere(text)]);
    }
    let (mut read, mut failed) = (Vec::new(), Vec::new());
    for file in &files {
        match TextFile::read_regular(file) {
            Ok(file) => read.push(file),
            Err(mistakes) => failed.extend(mistakes),
        }
    }
    if failed.is_empty() {
        Ok(read)
    } else {
        Err(failed)
    }
}

/// Returns the files that end in `.toml` and are not hidden, sorted.
fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the sources of a file of the folder. Anything else in it is a mistake.
pub(super) fn sources(file: &TextFile, mistakes: &mut Vec<ConfigError>) -> Layer {
    let mut layer = Layer::from_toml(&file.name, &file.text, mistakes);
    let options = std::mem::take(&mut layer.options).into_iter();
    let options = options.map(|(key, item)| (key, item.place));
    let sinks = std::mem::take(&mut layer.sinks).into_iter();
    let sinks = sinks.map(|sink| ("sink".to_owned(), sink.place));
    for (key, place) in options.chain(sinks) {
        let text = format!(
            "a file in {FOLDER} holds [[source]] only: move this to the configuration beside the folder"
        );
        mistakes.push(ConfigError::at(&place, key, Problem::Other(text)));
    }
    layer
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_no_file_in_the_folder_is_named_and_holds_nothing_up() {
        let place = tempfile::tempdir().expect("a folder");
        let (config, folder) = (place.path().join("config.toml"), place.path().join(FOLDER));
        fs::create_dir(&folder).expect("a folder");
        let made = Command::new("mkfifo")
            .arg(folder.join("pipe.toml"))
            .status();
        assert!(made.expect("mkfifo").success());
        symlink("/dev/zero", folder.join("zero.toml")).expect("a link");
        fs::create_dir(folder.join("folder.toml")).expect("a folder");
        fs::write(folder.join("good.toml"), "").expect("a file");
        let mistakes = beside(&config).expect_err("three are no files");
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        for (mistake, name) in mistakes.iter().zip(["folder", "pipe", "zero"]) {
            assert!(
                mistake.contains(&format!("{name}.toml: it is no regular file")),
                "{mistake}"
            );
        }
    }

    #[test]
    fn a_file_that_never_ends_is_read_no_further_than_its_bound() {
        let mistakes = TextFile::read(Path::new("/dev/zero")).expect_err("too long");
        assert!(mistakes[0].to_string().contains("more than 16777216 bytes"));
    }
}
