//! Without CAP_SYS_RESOURCE the kernel refuses to lower the oom score
//! adjustment, and the error says what to do.

#![expect(
    unsafe_code,
    reason = "privileges are given up in a child, and the standard library has no fork"
)]

use grey_budget::{OomScoreError, oom_score_adj, set_oom_score_adj};

/// The user id of `nobody`.
const NOBODY: libc::uid_t = 65534;

/// What the child says through its exit code.
const REFUSED_WITH_A_HINT: i32 = 42;
const SOMETHING_ELSE: i32 = 43;
const STILL_PRIVILEGED: i32 = 44;

fn try_to_lower() -> i32 {
    // SAFETY: both change the child alone, and take no memory of ours.
    // WHY: rustix changes the ids of one thread only.
    let given_up = unsafe {
        let is_root = libc::geteuid() == 0;
        let changed = !is_root || libc::setuid(NOBODY) == 0;
        // Otherwise the files in /proc/self would be root's.
        changed && libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
    };
    if !given_up {
        return STILL_PRIVILEGED;
    }
    let Ok(present) = oom_score_adj() else {
        return SOMETHING_ELSE;
    };
    match set_oom_score_adj(present - 1) {
        Err(error @ OomScoreError::NotPermitted { .. })
            if error
                .hint()
                .is_some_and(|hint| hint.contains("CAP_SYS_RESOURCE"))
                && oom_score_adj().is_ok_and(|now| now == present) =>
        {
            REFUSED_WITH_A_HINT
        }
        _ => SOMETHING_ELSE,
    }
}

#[test]
fn lowering_without_the_capability_is_refused_with_a_hint() {
    // The lowest value that was ever set with privileges may be set without.
    if oom_score_adj().unwrap() <= -1000 {
        eprintln!("not shown: the adjustment is the lowest already");
        return;
    }
    // SAFETY: the child uses one thread, and ends with `_exit`.
    // WHY: see above.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the fork failed");
    if child == 0 {
        let code = try_to_lower();
        // SAFETY: ends the child without running the test program's end.
        // WHY: `process::exit` would run handlers that belong to the parent.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid for a write, and the child is ours.
    // WHY: `std::process::Child` cannot be made of a pid.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    assert!(libc::WIFEXITED(status), "the child was killed: {status}");
    assert_eq!(libc::WEXITSTATUS(status), REFUSED_WITH_A_HINT);
}
