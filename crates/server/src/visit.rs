//! Who asks for what outside the API's resources.

use api::Status;
use http::{HeaderMap, Method};
use wire::query::Query;

use crate::Server;
use crate::identity::Identity;
use crate::route::method_not_allowed;

/// Who asks for what.
pub struct Visit<'a> {
    pub server: &'a Server,
    pub identity: &'a Identity,
    pub method: &'a Method,
    /// The path below that of the table, without slashes around it.
    pub rest: &'a str,
    pub query: &'a Query,
    pub headers: &'a HeaderMap,
}

impl Visit<'_> {
    /// What upstream's router has (emicklei/go-restful) is routed by its method too; other paths answer any.
    pub fn only_read(&self) -> Result<(), Status> {
        if self.method == Method::GET { Ok(()) } else { Err(method_not_allowed()) }
    }
}
