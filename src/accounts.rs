//! Users and groups of this machine, by name or number.
//!
//! Asked at the start and when the configuration is read anew, never later. A name service may take its time.

use std::ffi::CString;
use std::io;
use std::ptr;

/// Most bytes of an entry that are read.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// The number of a user; a number stands for itself.
pub fn uid_of(name: &str) -> Result<u32, String> {
    let ask = |name: &CString, buffer: &mut [libc::c_char]| {
        // SAFETY: all zeros are a passwd, which holds pointers and numbers.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: everything outlives the call, and the buffer is as long as is said.
        let code = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                &mut entry,
                buffer.as_mut_ptr(),
                buffer.len(),
                &mut found,
            )
        };
        (code, (!found.is_null()).then_some(entry.pw_uid))
    };
    number_of("user", name, ask)
}

/// The number of a group; a number stands for itself.
pub fn gid_of(name: &str) -> Result<u32, String> {
    let ask = |name: &CString, buffer: &mut [libc::c_char]| {
        // SAFETY: all zeros are a group, which holds pointers and numbers.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: everything outlives the call, and the buffer is as long as is said.
        let code = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                &mut entry,
                buffer.as_mut_ptr(),
                buffer.len(),
                &mut found,
            )
        };
        (code, (!found.is_null()).then_some(entry.gr_gid))
    };
    number_of("group", name, ask)
}

fn number_of(
    what: &str,
    name: &str,
    ask: impl Fn(&CString, &mut [libc::c_char]) -> (libc::c_int, Option<u32>),
) -> Result<u32, String> {
    let number = name.parse::<u32>().ok();
    // All ones are nobody: chown(2) would leave it as it is.
    if let Some(number) = number.filter(|number| *number != u32::MAX) {
        return Ok(number);
    }
    let unknown = || format!("this machine knows no {what} {name:?}");
    let asked = CString::new(name).map_err(|_| unknown())?;
    let mut buffer = vec![0; 1 << 10];
    loop {
        match ask(&asked, &mut buffer) {
            (_, Some(number)) => return Ok(number),
            (libc::ERANGE, None) if buffer.len() < ENTRY_BYTES_MAX => {
                buffer.resize(buffer.len() * 4, 0);
            }
            (libc::EINTR, None) => {}
            (0 | libc::ENOENT | libc::ESRCH, None) => return Err(unknown()),
            (code, None) => {
                let error = io::Error::from_raw_os_error(code);
                return Err(format!("{}: {error}", unknown()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_or_number() {
        assert_eq!(uid_of("root"), Ok(0));
        assert_eq!(gid_of("root"), Ok(0));
        assert_eq!(uid_of("4711"), Ok(4711));
        for name in ["no-such-account", "", "a\0b", "-1", "4294967295"] {
            assert!(uid_of(name).is_err() && gid_of(name).is_err(), "{name:?}");
        }
    }
}
