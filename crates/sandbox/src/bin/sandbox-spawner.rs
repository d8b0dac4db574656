//! The spawner by itself, for this crate's tests: what `lamp __spawner` is in the product. With the feature `testing`
//! it is also a small server, `sandbox-spawner server STEP`, that starts sandboxes and is killed before that step of a
//! start.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::take_over().unwrap_or_else(|| {
        #[cfg(feature = "testing")]
        if let Some(step) = std::env::args().nth(2).and_then(|step| step.parse().ok()) {
            return server::run(step);
        }
        eprintln!("sandbox-spawner is started by tests");
        ExitCode::FAILURE
    })
}

#[cfg(feature = "testing")]
mod server {
    use std::process::ExitCode;
    use std::sync::Arc;

    use base::{BoxFuture, Spawn};
    use sandbox::testing::Fault;
    use sandbox::{Program, Settings, Spec};

    struct OnTokio;

    impl Spawn for OnTokio {
        #[expect(clippy::disallowed_methods, reason = "this is where tasks start")]
        fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
            drop(tokio::task::spawn(task));
        }
    }

    const TRIES: usize = 50;

    fn sleep() -> Program {
        Program::new(["/bin/sleep", "1000"]).directory("/")
    }

    /// Starts two sandboxes, a program in each, and in the second one that goes on where that of the first was. Says so
    /// if it is still there.
    pub fn run(step: u32) -> ExitCode {
        let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() else {
            return ExitCode::FAILURE;
        };
        runtime.block_on(async {
            let settings = Settings { fault: Some(Fault::KillServer(step)), ..Settings::default() };
            let Ok((isolation, _)) = sandbox::processes(settings, Arc::new(OnTokio)).await else {
                return ExitCode::FAILURE;
            };
            let mut image = None;
            for name in ["first", "second"] {
                let mut spec = Spec::new(name, 64 * 1024 * 1024);
                spec.listen = vec![9001];
                let Ok(sandbox) = isolation.start(spec).await else { return ExitCode::FAILURE };
                if let Some(image) = &image {
                    let _ = sandbox.resume(image, sleep()).await;
                } else if let Ok(process) = sandbox.run(sleep()).await {
                    // It may not sleep yet, or be of a processor whose programs have no images.
                    for _ in 0..TRIES {
                        image = sandbox.take(process).await.ok();
                        if image.is_some() {
                            break;
                        }
                    }
                }
                let _ = sandbox.freeze();
                std::mem::forget(sandbox);
            }
            println!("alive");
            std::future::pending().await
        })
    }
}
