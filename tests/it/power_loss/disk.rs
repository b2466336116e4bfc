//! A disk that keeps what it must and nothing more: a file's bytes as they were when a sync of it began, under the names that its folder
//! had when a sync of the folder began.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::trace::Call;

/// Files below one folder, which was there before.
pub struct Disk {
    base: PathBuf,
    nodes: Vec<Node>,
    /// Nodes by path as a process sees them; those in `durable` are sure to be there after a power
    /// cut.
    now: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    open: HashMap<i64, Open>,
    /// Syncs under way: by descriptor, what they will have brought to the disk.
    syncing: HashMap<i64, Synced>,
}

#[derive(Default)]
struct Node {
    folder: bool,
    now: Vec<u8>,
    durable: Vec<u8>,
}

struct Open {
    path: PathBuf,
    node: usize,
    at: usize,
}

enum Synced {
    File(usize, Vec<u8>),
    Folder(PathBuf, BTreeMap<PathBuf, usize>),
}

impl Disk {
    /// An empty one.
    pub fn new(base: &Path) -> Self {
        let nodes = vec![Node {
            folder: true,
            ..Node::default()
        }];
        let root = BTreeMap::from([(base.to_owned(), 0)]);
        Self {
            base: base.into(),
            nodes,
            now: root.clone(),
            durable: root,
            open: HashMap::new(),
            syncing: HashMap::new(),
        }
    }

    /// A sync takes what is there when it begins. A close gives the descriptor away then: another thread's file can
    /// have it before the close ends.
    pub fn begins(&mut self, call: &Call) {
        if call.name == "close" {
            call.number(0)
                .map(|descriptor| self.open.remove(&descriptor));
            return;
        }
        if !matches!(&*call.name, "fsync" | "fdatasync") {
            return;
        }
        let Some((descriptor, open)) = call
            .number(0)
            .and_then(|fd| Some((fd, self.open.get(&fd)?)))
        else {
            return;
        };
        let synced = if self.nodes[open.node].folder {
            let inside = self
                .now
                .iter()
                .filter(|(path, _)| path.parent() == Some(&open.path));
            Synced::Folder(
                open.path.clone(),
                inside.map(|(path, node)| (path.clone(), *node)).collect(),
            )
        } else {
            Synced::File(open.node, self.nodes[open.node].now.clone())
        };
        self.syncing.insert(descriptor, synced);
    }

    /// Everything else counts from its end. Whether what is durable has changed.
    pub fn ends(&mut self, call: &Call) -> bool {
        if call.result < 0 {
            // A sync that failed, or never came back, has promised nothing.
            call.number(0)
                .map(|descriptor| self.syncing.remove(&descriptor));
            return false;
        }
        let written = usize::try_from(call.result).expect("not negative");
        match &*call.name {
            "openat" => self.opened(call),
            "mkdir" => {
                let path = self.path(&call.texts()[0]);
                self.create(path, true);
            }
            "unlink" => drop(self.now.remove(&self.path(&call.texts()[0]))),
            "rename" => {
                let [from, to] = [0, 1].map(|place| self.path(&call.texts()[place]));
                let node = self.now.remove(&from);
                self.now.extend(node.map(|node| (to, node)));
            }
            name => {
                let Some((descriptor, open)) = call
                    .number(0)
                    .and_then(|fd| Some((fd, self.open.get_mut(&fd)?)))
                else {
                    return false;
                };
                let content = &mut self.nodes[open.node].now;
                match name {
                    "write" | "writev" => {
                        put(content, open.at, &call.bytes()[..written]);
                        open.at += written;
                    }
                    "pwrite64" | "pwritev" => {
                        let at = call
                            .number(-1)
                            .and_then(|at| usize::try_from(at).ok())
                            .expect("an offset");
                        put(content, at, &call.bytes()[..written]);
                    }
                    "lseek" => open.at = written,
                    "ftruncate" => content.resize(
                        call.number(1)
                            .and_then(|len| usize::try_from(len).ok())
                            .expect("a length"),
                        0,
                    ),
                    "fsync" | "fdatasync" => return self.synced(descriptor),
                    _ => {}
                }
            }
        }
        false
    }

    fn path(&self, text: &str) -> PathBuf {
        self.base.join(text).components().collect()
    }

    fn create(&mut self, path: PathBuf, folder: bool) -> usize {
        self.nodes.push(Node {
            folder,
            ..Node::default()
        });
        let node = self.nodes.len() - 1;
        self.now.insert(path, node);
        node
    }

    fn opened(&mut self, call: &Call) {
        let path = self.path(&call.texts()[0]);
        let node = match self.now.get(&path) {
            Some(node) => *node,
            None if path.starts_with(&self.base) && call.has_flag("O_CREAT") => {
                self.create(path.clone(), false)
            }
            None => return,
        };
        if call.has_flag("O_TRUNC") {
            self.nodes[node].now.clear();
        }
        self.open.insert(call.result, Open { path, node, at: 0 });
    }

    fn synced(&mut self, descriptor: i64) -> bool {
        match self.syncing.remove(&descriptor) {
            Some(Synced::File(node, content)) => {
                let changed = self.nodes[node].durable != content;
                self.nodes[node].durable = content;
                changed
            }
            Some(Synced::Folder(folder, inside)) => {
                let before = self.durable.clone();
                self.durable
                    .retain(|path, _| path.parent() != Some(&folder));
                self.durable.extend(inside);
                self.durable != before
            }
            None => false,
        }
    }

    /// Writes what is left to `place`.
    pub fn cut_power(&self, place: &Path) {
        for (path, node) in &self.durable {
            let reachable = path
                .ancestors()
                .take_while(|above| above.starts_with(&self.base))
                .all(|above| self.durable.contains_key(above));
            let Some(inside) = path.strip_prefix(&self.base).ok().filter(|_| reachable) else {
                continue;
            };
            let node = &self.nodes[*node];
            // Paths come in order, so that a folder comes before what is in it.
            if node.folder {
                std::fs::create_dir_all(place.join(inside)).expect("a folder");
            } else {
                std::fs::write(place.join(inside), &node.durable).expect("a file");
            }
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn a_number_that_a_close_gives_away_belongs_to_the_file_that_gets_it() {
    use super::trace::{Moment, Trace};

    let hex =
        |text: &str| -> String { text.bytes().map(|byte| format!("\\x{byte:02x}")).collect() };
    let opened = |name: &str| {
        format!(
            "openat(AT_FDCWD, \"{}\", O_RDWR|O_CREAT, 0666) = 3",
            hex(name)
        )
    };
    let (first, second, text) = (opened("/base/a"), opened("/base/b"), hex("kept"));
    let trace = Trace::parse(&format!(
        "1 {first}
1 close(3 <unfinished ...>
2 {second}
1 <... close resumed>) = 0
2 write(3, \"{text}\", 4) = 4
2 fsync(3) = 0
"
    ));
    let mut disk = Disk::new(Path::new("/base"));
    let mut changed = Vec::new();
    for moment in trace.moments() {
        match moment {
            Moment::Begins(call) => disk.begins(call),
            Moment::Ends(call) => changed.push(disk.ends(call)),
        }
    }
    assert_eq!(changed, [false, false, false, false, true]);
    assert_eq!(
        disk.nodes.last().map(|node| &*node.durable),
        Some(&b"kept"[..])
    );
}
