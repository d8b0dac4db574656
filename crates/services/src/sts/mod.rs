//! AWS Security Token Service. Not there yet: everything but `GetCallerIdentity`.

mod identity;

use crate::Service;

pub fn service() -> Service {
    Service::new("sts", include_str!("model.json"), include_str!("overlay.json"))
        .operation("GetCallerIdentity", identity::get_caller_identity)
}
