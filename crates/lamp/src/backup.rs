//! `lamp backup`, `lamp restore` and `lamp rotate-key`: on a running server through its control socket, else on the
//! data directory itself.

use std::error::Error;
use std::io;
use std::path::{Path, absolute};

use serde_json::Value;
use store::data_dir;

use crate::cli::{Backup, Place, Restore};
use crate::config;
use crate::control::{self, Answer, Request};
use crate::wiring::Data;

pub fn back_up(options: Backup) -> Result<(), Box<dyn Error>> {
    let dir = config::data_dir(options.from)?;
    // The server may have been started in another directory.
    let to = absolute(&options.to)?;
    let manifest = carry_out(&dir, Request::Backup { to: to.clone() })?;
    if options.json {
        println!("{manifest}");
        return Ok(());
    }
    println!("backed up {} into {}", dir.display(), to.display());
    println!("The master key is not in it: keep a copy of {} elsewhere.", data_dir::keys(&dir).display());
    Ok(())
}

pub fn restore(options: Restore) -> Result<(), Box<dyn Error>> {
    let dir = config::data_dir(options.to)?;
    let manifest = runtime()?.block_on(store::backup::restore(&options.from, &dir))?;
    println!("restored {} into {}", options.from.display(), dir.display());
    println!(
        "{} blobs verified. Put the source's keys into {} before you start it.",
        manifest.blob_count,
        data_dir::keys(&dir).display()
    );
    Ok(())
}

pub fn rotate_key(place: Place) -> Result<(), Box<dyn Error>> {
    let done = carry_out(&config::data_dir(place)?, Request::RotateKey)?;
    println!("new master key; keys wrapped anew: {}; the old one is forgotten", done["rewrapped_key_count"]);
    Ok(())
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Has the running server do it, or does it here if none runs.
fn carry_out(dir: &Path, request: Request) -> Result<Value, Box<dyn Error>> {
    if !data_dir::exists(dir) {
        return Err(format!("open the data directory {}: there is none; name it with --data-dir", dir.display()).into());
    }
    match control::ask(dir, &request)? {
        Some(Answer::Done(done)) => Ok(done),
        Some(Answer::Failed(reason)) => Err(reason.into()),
        None => runtime()?.block_on(async {
            let data = Data::open(dir).await?;
            let served = data.served(None);
            let done = served.execute(request).await?;
            data.store.close().await?;
            Ok(done)
        }),
    }
}
