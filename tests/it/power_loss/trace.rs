//! The output of `strace -f -xx`, as a sequence of moments.

use std::collections::HashMap;

/// The calls that are traced: those that change files, bring them to the disk, or write to a socket.
pub const CALLS: [&str; 15] = [
    "openat",
    "close",
    "mkdir",
    "unlink",
    "rename",
    "write",
    "writev",
    "pwrite64",
    "lseek",
    "ftruncate",
    "fsync",
    "fdatasync",
    "sendto",
    "sendmsg",
    "pwritev",
];

/// One system call.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    /// Everything between the parentheses.
    arguments: String,
    /// Value that the call returned; negative after an error or without a return.
    pub result: i64,
}

/// Beginning or end of a call. Between the two, other threads do other things.
pub enum Moment<'t> {
    Begins(&'t Call),
    Ends(&'t Call),
}

/// Calls, and the order of their beginnings and ends.
pub struct Trace {
    calls: Vec<Call>,
    moments: Vec<(usize, bool)>,
}

impl Trace {
    /// Reads what strace wrote.
    pub fn parse(text: &str) -> Self {
        let mut trace = Self {
            calls: Vec::new(),
            moments: Vec::new(),
        };
        let mut unfinished: HashMap<&str, usize> = HashMap::new();
        for line in text.lines() {
            let (thread, line) = line.split_once(' ').unwrap_or_default();
            let line = line.trim_start();
            if let Some(rest) = line.strip_prefix("<... ") {
                let Some(call) = unfinished.remove(thread) else {
                    continue;
                };
                let (_, rest) = rest.split_once(" resumed>").unwrap_or_default();
                trace.finish(call, rest);
            } else if let Some((name, rest)) = line.split_once('(') {
                let call = trace.calls.len();
                trace.calls.push(Call {
                    name: name.into(),
                    arguments: String::new(),
                    result: -1,
                });
                trace.moments.push((call, true));
                match rest.strip_suffix("<unfinished ...>") {
                    Some(arguments) => {
                        trace.calls[call].arguments = arguments.into();
                        unfinished.insert(thread, call);
                    }
                    None => trace.finish(call, rest),
                }
            }
        }
        trace
    }

    /// `rest` is the rest of the arguments, and the result.
    fn finish(&mut self, call: usize, rest: &str) {
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
        self.calls[call].arguments += arguments.trim_end().strip_suffix(')').unwrap_or(arguments);
        self.calls[call].result = result
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(-1);
        self.moments.push((call, false));
    }

    /// Every beginning and every end, in order.
    pub fn moments(&self) -> impl Iterator<Item = Moment<'_>> {
        self.moments.iter().map(|(call, begins)| {
            let call = &self.calls[*call];
            if *begins {
                Moment::Begins(call)
            } else {
                Moment::Ends(call)
            }
        })
    }
}

impl Call {
    /// The number at `place` among the arguments, counted from the end where it is negative.
    pub fn number(&self, place: isize) -> Option<i64> {
        let arguments: Vec<&str> = self.arguments.split(", ").collect();
        let place = if place < 0 {
            arguments.len().checked_add_signed(place)?
        } else {
            usize::try_from(place).ok()?
        };
        arguments.get(place)?.trim().parse().ok()
    }

    /// The text in the arguments, put together.
    pub fn bytes(&self) -> Vec<u8> {
        // -xx leaves no quotation marks inside.
        let texts = self.arguments.split('"').skip(1).step_by(2);
        texts
            .flat_map(|text| {
                hex::decode(text.replace("\\x", "")).expect("strace -xx writes hexadecimal")
            })
            .collect()
    }

    /// Each text in the arguments.
    pub fn texts(&self) -> Vec<String> {
        let texts = self.arguments.split('"').skip(1).step_by(2);
        texts
            .map(|text| {
                String::from_utf8_lossy(&hex::decode(text.replace("\\x", "")).expect("hexadecimal"))
                    .into_owned()
            })
            .collect()
    }

    /// Returns true if the arguments have the flag.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.arguments
            .split(['|', ',', ' '])
            .any(|word| word == flag)
    }

    /// The message ids in answers of 200 that this call writes.
    pub fn ids_answered(&self) -> Vec<String> {
        const UUID: usize = 36;
        if !matches!(&*self.name, "write" | "writev" | "sendto" | "sendmsg") {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&self.bytes()).into_owned();
        let answers = text
            .split("HTTP/1.1 ")
            .filter(|answer| answer.starts_with("200"));
        answers
            .filter_map(|answer| {
                answer
                    .split_once("\"id\":\"")?
                    .1
                    .get(..UUID)
                    .map(str::to_owned)
            })
            .collect()
    }
}

#[test]
fn calls_of_several_threads_are_told_apart() {
    let trace = Trace::parse(
        "7  write(3, \"\\x68\\x69\", 2 <unfinished ...>\n8  fsync(4)                = 0\n7  <... write resumed>)    = 2\n\
         8  openat(AT_FDCWD, \"\\x61\", O_RDWR|O_CREAT, 0777) = -1 ENOENT (No such file or directory)\n7  +++ exited with 0 +++\n",
    );
    let seen: Vec<_> = trace
        .moments()
        .map(|moment| match moment {
            Moment::Begins(call) => format!("{} begins", call.name),
            Moment::Ends(call) => format!("{} = {}", call.name, call.result),
        })
        .collect();
    assert_eq!(
        seen,
        [
            "write begins",
            "fsync begins",
            "fsync = 0",
            "write = 2",
            "openat begins",
            "openat = -1"
        ]
    );
    assert_eq!(
        (
            trace.calls[0].number(0),
            trace.calls[0].number(-1),
            trace.calls[0].bytes()
        ),
        (Some(3), Some(2), b"hi".to_vec())
    );
    assert!(trace.calls[2].has_flag("O_CREAT"));
}
