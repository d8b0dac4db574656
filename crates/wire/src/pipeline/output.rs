//! From what a codec wrote to what a connection sends.

use http::header::{self, HeaderValue};
use http::{Method, Response};

use crate::Blob;
use crate::server::Reply;

/// A whole answer.
pub(super) fn reply(response: Response<Blob>) -> Response<Reply> {
    response.map(Reply::from)
}

/// The answer to a HEAD: what GET would answer, without its body.
pub(super) fn without_body(method: &Method, mut response: Response<Reply>) -> Response<Reply> {
    if method != Method::HEAD {
        return response;
    }
    if let Some(len) = response.body().bytes_left() {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(len));
    }
    *response.body_mut() = Reply::default();
    response
}
