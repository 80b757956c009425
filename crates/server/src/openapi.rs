//! The documents that describe the API's types: `/openapi/v2`, `/openapi/v3` and one per version.

use api::Status;
use http::HeaderMap;

use crate::answer::Response;
use crate::route::Query;

/// Serves an OpenAPI path; None if it is none.
pub fn perform(_path: &str, _query: &Query, _headers: &HeaderMap) -> Option<Result<Response, Status>> {
    None
}
