//! `lamp credentials`: what a shell needs to talk to the server as root.

use std::error::Error;
use std::path::absolute;

use base::SystemChance;

use crate::cli::Place;
use crate::config::data_dir;
use crate::control::{self, Answer, Request};
use crate::root::Root;

pub fn print(place: Place) -> Result<(), Box<dyn Error>> {
    let dir = absolute(data_dir(place)?)?;
    if !store::data_dir::exists(&dir) {
        return Err(format!("find credentials in {}: start the server there first", dir.display()).into());
    }
    let root = Root::open(&store::data_dir::keys(&dir), &SystemChance::default())?;
    println!("export AWS_ACCESS_KEY_ID={}", root.access_key_id);
    println!("export AWS_SECRET_ACCESS_KEY={}", root.secret_access_key.expose());
    // Some of AWS's tools know the one, some the other.
    println!("export AWS_REGION=${{AWS_REGION:-us-east-1}} AWS_DEFAULT_REGION=${{AWS_DEFAULT_REGION:-us-east-1}}");
    if let Some(Answer::Done(done)) = control::ask(&dir, &Request::Endpoint)?
        && let Some(endpoint) = done["endpoint"].as_str()
    {
        println!("export AWS_ENDPOINT_URL={endpoint}");
        let certificate = dir.join("tls/certificate.pem");
        if endpoint.starts_with("https") && certificate.exists() {
            println!("export AWS_CA_BUNDLE='{}'", certificate.display());
        }
    }
    Ok(())
}
