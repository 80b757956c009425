//! Bodies that are slow to read: they weigh more than others, and hold up nobody.

use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};

/// What the parser of YAML reads counts as so many times its bytes, but for what is small.
pub const COSTS: usize = 20;
const LIGHT_MAX: usize = 4 << 10;

pub fn is_slow(body: &[u8], media: &str) -> bool {
    body.len() > LIGHT_MAX && api::decode::is_slow(body, media)
}

/// Reads the body, alone if it is slow.
pub fn reading<T>(body: &[u8], media: &str, read: impl FnOnce() -> T) -> T {
    if is_slow(body, media) { alone(read) } else { read() }
}

/// The same for what is known to be YAML.
pub fn reading_yaml<T>(body: &[u8], read: impl FnOnce() -> T) -> T {
    if body.len() > LIGHT_MAX { alone(read) } else { read() }
}

/// Waits until nothing else of the kind is read; other requests get another thread meanwhile: whoever sends
/// many of them takes one processor's time, not all.
fn alone<T>(read: impl FnOnce() -> T) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    // Another thread is there where the runtime has several.
    let threads = Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread);
    if !threads {
        return read();
    }
    tokio::task::block_in_place(|| {
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        read()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_body_holds_up_no_other_request() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (other, asked) = std::sync::mpsc::channel();
        let limit = std::time::Duration::from_secs(30);
        let yaml = "k: v\n".repeat(LIGHT_MAX);
        let read = runtime.spawn(async move {
            // On the one thread that there is.
            tokio::spawn(async move { other.send(()) });
            reading(yaml.as_bytes(), "application/yaml", || asked.recv_timeout(limit))
        });
        runtime.block_on(read).unwrap().expect("the other request was served meanwhile");
    }

    #[test]
    fn what_is_small_or_json_is_read_at_once() {
        let yaml = "k: v\n".repeat(LIGHT_MAX);
        let json = serde_json::json!({ "k": "v".repeat(LIGHT_MAX) }).to_string();
        let slow = |body: &str, media| is_slow(body.as_bytes(), media);
        assert!(slow(&yaml, "application/yaml") && slow(&yaml, "application/apply-patch+yaml"));
        assert!(!slow("k: v", "application/yaml") && !slow(&json, "application/apply-patch+yaml"));
        assert!(!slow(&json, "application/json"));
    }
}
