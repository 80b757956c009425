//! PodSecurity: levels that a namespace demands of its pods by label.

use api::Status;
use serde_json::Value;

use super::{Ask, Outcome};

pub fn admit(_: &Ask<'_>, _: &mut Value, _: &mut Outcome) -> Result<(), Status> {
    Ok(())
}
