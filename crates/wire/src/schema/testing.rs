//! The services' real models, for tests. Their files belong to a crate above this one, so they are read, not included.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::{Model, load};

/// Every service of the workspace, as the server loads it.
pub(crate) static ALL: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let folders = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.join("model.json").is_file()).collect();
    folders.sort();
    assert!(folders.len() >= 21, "the services' models are in {}", folder().display());
    let names = folders.iter().map(|path| &*path.file_name().unwrap().to_str().unwrap().to_owned().leak());
    names.map(|name| load(name, text(name, "model.json"), text(name, "overlay.json")).unwrap()).collect()
});

pub(crate) fn model(name: &str) -> &'static Model {
    ALL.iter().find(|model| model.name == name).unwrap()
}

/// A file of a service's folder.
pub(crate) fn text(service: &str, file: &str) -> &'static str {
    fs::read_to_string(folder().join(service).join(file)).unwrap().leak()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../services/src")
}
