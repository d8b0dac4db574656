//! Whom a collector must prove to be, over TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Where systems keep the authorities that they trust: Debian, Red Hat, SUSE, Alpine and macOS.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("find the authorities that this system trusts: name a file of them (--otlp-certificate)")]
    NoAuthorities,
    #[error("read the authorities in {path}")]
    Read { path: PathBuf, source: pem::Error },
    #[error("trust an authority in {path}")]
    Trust { path: PathBuf, source: rustls::Error },
    #[error("make ready for TLS")]
    Settings(#[from] rustls::Error),
}

/// Trusts the authorities in a file of PEM, or those that the system trusts.
pub fn connector(authorities: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let system = || SYSTEM.iter().map(Path::new).find(|path| path.exists());
    let path = authorities.or_else(system).ok_or(TlsError::NoAuthorities)?;
    let read = |source| TlsError::Read { path: path.into(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
        let added = roots.add(certificate.map_err(read)?);
        // A system has some that nobody can read any more; who names a file means each.
        if authorities.is_some() {
            added.map_err(|source| TlsError::Trust { path: path.into(), source })?;
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoAuthorities);
    }
    let settings = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(settings)))
}
