//! Reads the profile that callgrind writes.
//!
//! Format: <https://valgrind.org/docs/manual/cl-format.html>, without compression of names or positions
//! (`--compress-strings=no --compress-pos=no`) and with the one event `Ir`.

/// What one run of a workload took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Instructions of the program itself.
    pub instructions: u64,
    /// Calls from the program into other libraries.
    pub calls_out: u64,
    /// Those of them that take memory.
    pub allocations: u64,
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// It counts something else than instructions.
    #[error("profile: expected `events: Ir`, found `{0}`")]
    Events(String),
    /// A line that the format does not have.
    #[error("profile: line {0} cannot be read: {1}")]
    Line(usize, String),
    /// Nothing was counted for the program.
    #[error("profile: nothing was counted")]
    Nothing,
}

/// The C library's functions that take memory.
const ALLOCATORS: [&str; 5] = [
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
];

/// Reads a profile; `program` is the path of the program that was run.
///
/// # Errors
/// It is not a profile of that program's instructions.
pub fn parse(profile: &str, program: &str) -> Result<Counts, ProfileError> {
    let mut counts = Counts::default();
    let (mut object, mut callee_object, mut callee) = ("", "", "");
    let mut is_call = false;
    for (number, line) in profile.lines().enumerate() {
        let unreadable = || ProfileError::Line(number + 1, line.to_owned());
        if let Some(events) = line.strip_prefix("events:") {
            if events.trim() != "Ir" {
                return Err(ProfileError::Events(events.trim().to_owned()));
            }
        } else if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if line.starts_with("fn=") {
            callee_object = object;
        } else if let Some(name) = line.strip_prefix("cob=") {
            callee_object = name;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            callee = name;
        } else if let Some(rest) = line.strip_prefix("calls=") {
            let calls = rest.split(' ').next().and_then(|it| it.parse::<u64>().ok());
            let calls = calls.ok_or_else(unreadable)?;
            if object == program && callee_object != program {
                counts.calls_out += calls;
                if ALLOCATORS.contains(&callee) {
                    counts.allocations += calls;
                }
            }
            // The next line is what the callee took; a callee without an object is in the caller's.
            (is_call, callee_object) = (true, object);
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            let cost = line.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok());
            let cost = cost.ok_or_else(unreadable)?;
            if !std::mem::take(&mut is_call) && object == program {
                counts.instructions += cost;
            }
        }
    }
    if counts.instructions == 0 {
        return Err(ProfileError::Nothing);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir
summary: 190

ob=/bin/gate
fl=gate.rs
fn=measured
10 7
cob=/lib/libc.so.6
cfi=???
cfn=malloc
calls=3 0
11 60
cfn=inner
calls=2 20
12 40
cob=/lib/libc.so.6
cfn=0x00000000000a1234
calls=2 0
13 22

fn=inner
20 40

ob=/lib/libc.so.6
fl=???
fn=malloc
0 50
cfn=_int_malloc
calls=1 0
0 10

totals: 190
";

    #[test]
    fn own_instructions_calls_out_and_allocations_are_told_apart() {
        let counts = Counts {
            instructions: 47,
            calls_out: 5,
            allocations: 3,
        };
        assert_eq!(parse(PROFILE, "/bin/gate"), Ok(counts));
    }

    #[test]
    fn a_profile_of_something_else_is_an_error() {
        assert_eq!(parse(PROFILE, "/bin/other"), Err(ProfileError::Nothing));
        assert_eq!(parse("", "/bin/gate"), Err(ProfileError::Nothing));
        assert!(matches!(
            parse("events: Ir Dr\n", "p"),
            Err(ProfileError::Events(_))
        ));
        let broken = "ob=p\nfn=f\n12 x\n";
        assert!(matches!(parse(broken, "p"), Err(ProfileError::Line(3, _))));
    }
}
