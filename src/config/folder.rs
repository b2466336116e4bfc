//! Sources in a folder: `sources.d/*.toml` beside the configuration.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::error::{ConfigError, Problem};
use super::layers::Layer;

/// Name of the folder, beside the configuration.
const FOLDER: &str = "sources.d";
/// Most files there.
const MOST: usize = 10_000;

/// A file that was read.
#[derive(Debug, Clone)]
pub(super) struct TextFile {
    /// Its name, as errors show it.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
}

impl TextFile {
    /// Reads a file. Fails with one mistake.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<ConfigError>> {
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => {
                let text = format!("cannot read the configuration {name}: {error}");
                Err(vec![ConfigError::nowhere(text)])
            }
        }
    }
}

/// Returns the files of the folder beside the configuration `file`, in the order of their names. Without the folder there are none.
pub(super) fn beside(file: &Path) -> Result<Vec<TextFile>, Vec<ConfigError>> {
    let folder = file.with_file_name(FOLDER);
    let unreadable = |error: io::Error| {
        let text = format!("cannot read the folder {}: {error}", folder.display());
        vec![ConfigError::nowhere(text)]
    };
    // A link to a folder that is away, or a disk that fails, is a mistake: its sources would be gone.
    match fs::symlink_metadata(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
        Ok(_) => {}
    }
    let files = names(&folder).map_err(unreadable)?;
    if files.len() > MOST {
        let text = format!("{} has more than {MOST} files", folder.display());
        return Err(vec![ConfigError::nowhere(text)]);
    }
    let (mut read, mut failed) = (Vec::new(), Vec::new());
    for file in &files {
        match TextFile::read(file) {
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
