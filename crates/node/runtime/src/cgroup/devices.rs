//! Which devices a container may use, on v2: a small BPF program on its cgroup, since v2 has no files for it.
//!
//! The kernel runs the program for each opening or making of a device node, with type and access in one word, then major
//! and minor number. The program compares them with each rule in turn and allows what one of them allows.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;

/// One thing that is allowed. `None` stands for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    /// `c` or `b`.
    pub kind: char,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

/// What every container may use: the nodes that each has in its `/dev`, terminals, and making any node (which is useless
/// without the right to open it).
pub(crate) const ALWAYS: &[DeviceRule] = &[
    DeviceRule { kind: 'c', major: None, minor: None, read: false, write: false, mknod: true },
    DeviceRule { kind: 'b', major: None, minor: None, read: false, write: false, mknod: true },
    all('c', 1, Some(3)),
    all('c', 1, Some(5)),
    all('c', 1, Some(7)),
    all('c', 1, Some(8)),
    all('c', 1, Some(9)),
    all('c', 5, Some(0)),
    all('c', 5, Some(1)),
    all('c', 5, Some(2)),
    all('c', 136, None),
];

const fn all(kind: char, major: u32, minor: Option<u32>) -> DeviceRule {
    DeviceRule { kind, major: Some(major), minor, read: true, write: true, mknod: true }
}

/// An instruction of the kernel's BPF machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Opcodes: class, source and operation, as the kernel's documentation of the instruction set puts them together.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

const PROGRAM_LOAD: libc::c_int = 5;
const PROGRAM_ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | from << 4, offset, immediate }
}

fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules {
        let granted = i32::from(rule.mknod) | i32::from(rule.read) << 1 | i32::from(rule.write) << 2;
        let mut tests = vec![(KIND, if rule.kind == 'b' { 1 } else { 2 })];
        tests.extend(rule.major.map(|major| (MAJOR, major as i32)));
        tests.extend(rule.minor.map(|minor| (MINOR, minor as i32)));
        // Each test skips the rest of the rule: the other tests, three for the access, two for the answer.
        let mut left = tests.len() as i16 + 3 + 2;
        for (register, value) in tests {
            left -= 1;
            program.push(instruction(JUMP_NOT_EQUAL, register, 0, left, value));
        }
        program.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        program.push(instruction(AND, SCRATCH, 0, 0, 7 & !granted));
        program.push(instruction(JUMP_NOT_EQUAL, SCRATCH, 0, 2, 0));
        program.push(instruction(MOVE, RESULT, 0, 0, 1));
        program.push(instruction(EXIT, 0, 0, 0, 0));
    }
    program.push(instruction(MOVE, RESULT, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

/// Attaches a program that allows these devices to a v2 group. It goes with the group.
pub(super) fn restrict(group: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let program = load(&compile(rules))?;
    let group = File::open(group)?;
    #[repr(C)]
    struct Attach {
        target: RawFd,
        program: RawFd,
        kind: u32,
        flags: u32,
    }
    let attach = Attach {
        target: group.as_raw_fd(),
        program: program.as_raw_fd(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    bpf(PROGRAM_ATTACH, &attach).map(drop)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    let load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let fd = bpf(PROGRAM_LOAD, &load)?;
    // SAFETY: the call has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the structures are laid out as the kernel wants them, and what they point to lives through the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    Ok(Errno::result(result)? as RawFd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_the_next_rule() {
        let one =
            DeviceRule { kind: 'c', major: Some(1), minor: Some(3), read: true, write: true, mknod: true };
        let program = compile(&[one]);
        assert_eq!(program.len(), 6 + 3 + 5 + 2);
        for (at, i) in program.iter().enumerate().filter(|(_, i)| i.code == JUMP_NOT_EQUAL) {
            assert_eq!(at + 1 + i.offset as usize, 14, "instruction {at}");
        }
    }

    /// On a machine with any v2 tree: a process in a restricted group cannot open what is not allowed.
    #[test]
    fn the_kernel_takes_the_program() {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let root =
            mounts.lines().find(|l| l.split(' ').nth(2) == Some("cgroup2")).and_then(|l| l.split(' ').nth(1));
        let (true, Some(root)) = (nix::unistd::geteuid().is_root(), root) else {
            println!("skipped: needs root and a cgroup v2 tree");
            return;
        };
        let group = Path::new(root).join(format!("frt-devices-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let restricted = restrict(&group, ALWAYS);
        let script = format!(
            "echo $$ > {}/cgroup.procs; head -c1 /dev/zero >/dev/null && echo zero; head -c0 /dev/kmsg && echo kmsg; true",
            group.display()
        );
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The shell is reaped, so the group is empty.
        std::fs::remove_dir(&group).unwrap();
        restricted.unwrap();
        assert_eq!(text, "zero\n");
    }
}
