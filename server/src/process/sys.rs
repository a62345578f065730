//! The few system calls for which neither `std` nor `nix` has a safe form. All `unsafe` of this module tree is here.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        signal::{SigSet, SigmaskHow, sigprocmask},
        socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
    },
    unistd::{ForkResult, Pid, fork, setsid},
};

/// Forks the calling process, which must have one thread only, and runs `child` in the new one. The child ends with
/// the code that `child` returns, 70 when it panics, and never comes back to the caller's frames.
pub(crate) fn fork_single_threaded(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: only the spawner calls this, which never starts a thread: no lock of the allocator or of `std` can be
    // held by another thread at this moment, so the child may run ordinary code.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(70);
            std::process::exit(code)
        }
    }
}

/// Closes every descriptor from 3 on, except the two given.
pub(crate) fn close_all_except(keep: [RawFd; 2]) {
    let (low, high) = (keep[0].min(keep[1]), keep[0].max(keep[1]));
    close_range(3, low - 1);
    close_range(low + 1, high - 1);
    close_range(high + 1, RawFd::MAX);
}

fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: the caller is a freshly forked supervisor which owns exactly the two descriptors that it keeps; whatever
    // else is open belongs to frames that it never returns to.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done != 0 {
        // A kernel before 5.9.
        for fd in first..=last.min(4096) {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    }
}

/// Gives every signal its default action, except SIGPIPE (`std` ignores it, and resets it in what it starts) and those
/// that `std` uses to report a stack overflow.
pub(crate) fn reset_signal_actions() {
    for signal in 1..=64 {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP | libc::SIGPIPE | libc::SIGSEGV | libc::SIGBUS | 32 | 33) {
            continue;
        }
        // SAFETY: SIG_DFL installs no code.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Makes `command` start in a session (and process group) of its own and with no signal blocked.
pub(crate) fn in_own_session(command: &mut Command) {
    // SAFETY: between fork and exec only two system calls are made, both async-signal-safe; nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            Ok(())
        });
    }
}

/// Makes reads from `fd` return at once.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Sends one packet with descriptors over a SEQPACKET socket.
pub(crate) fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A packet as received: its bytes and the descriptors that came with it.
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Receives one packet; `None` at the end of the connection.
pub(crate) fn receive_packet(socket: BorrowedFd<'_>) -> io::Result<Option<Packet>> {
    let mut buffer = [0_u8; 64];
    let mut control = nix::cmsg_space!([RawFd; 2]);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let (length, fds) = {
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = part {
                // SAFETY: the kernel has just made these descriptors for this process; nobody else owns them.
                fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        (message.bytes, fds)
    };
    if length == 0 && fds.is_empty() {
        return Ok(None);
    }
    Ok(Some(Packet { bytes: buffer[..length].to_vec(), fds }))
}

/// A descriptor that stands for one process for good, however often its number is given out again.
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// `ESRCH` when no such process exists.
    pub(crate) fn open(pid: i32) -> Result<PidFd, Errno> {
        // SAFETY: takes and returns plain numbers; the descriptor is new and ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(Errno::last());
        }
        // SAFETY: see above.
        Ok(PidFd(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Sends a signal to exactly the process that was opened.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), Errno> {
        // SAFETY: the descriptor is open; no signal information is passed (null), flags are 0.
        let done = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if done == 0 { Ok(()) } else { Err(Errno::last()) }
    }
}

/// Clock ticks a second: the unit of start times in `/proc/<pid>/stat`.
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: reads a constant of the system.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// Takes standard input as the connection that the server gave to its helper.
pub(crate) fn take_standard_input() -> OwnedFd {
    // SAFETY: the spawner is started with a socket as descriptor 0 and nothing else in it uses standard input.
    unsafe { OwnedFd::from_raw_fd(0) }
}

/// A lock file as a plain file: the lock stays as long as any copy of the descriptor is open, in any process.
pub(crate) fn file_of(fd: OwnedFd) -> File {
    File::from(fd)
}
