//! The messages of version 3, as far as documents of an API have them.
//!
//! gnostic-models openapiv3/OpenAPIv3.proto.

use super::{Form, Message, When};

pub static DOCUMENT: Message = Message {
    fields: &[
        (1, "openapi", Form::Text),
        (2, "info", Form::Message(&INFO)),
        (4, "paths", Form::Message(&PATHS)),
        (5, "components", Form::Message(&COMPONENTS)),
        (6, "security", Form::List(&Form::Message(&REQUIREMENT))),
    ],
    others: None,
    extensions: 9,
};

static INFO: Message = Message {
    fields: &[(1, "title", Form::Text), (2, "description", Form::Text), (6, "version", Form::Text)],
    others: None,
    extensions: 7,
};

static PATHS: Message = Message { fields: &[], others: Some((1, Form::Message(&PATH_ITEM))), extensions: 2 };

static PATH_ITEM: Message = Message {
    fields: &[
        (1, "$ref", Form::Text),
        (2, "summary", Form::Text),
        (3, "description", Form::Text),
        (4, "get", Form::Message(&OPERATION)),
        (5, "put", Form::Message(&OPERATION)),
        (6, "post", Form::Message(&OPERATION)),
        (7, "delete", Form::Message(&OPERATION)),
        (8, "options", Form::Message(&OPERATION)),
        (9, "head", Form::Message(&OPERATION)),
        (10, "patch", Form::Message(&OPERATION)),
        (11, "trace", Form::Message(&OPERATION)),
        (13, "parameters", Form::List(&PARAMETER)),
    ],
    others: None,
    extensions: 14,
};

static OPERATION: Message = Message {
    fields: &[
        (1, "tags", Form::List(&Form::Text)),
        (2, "summary", Form::Text),
        (3, "description", Form::Text),
        (5, "operationId", Form::Text),
        (6, "parameters", Form::List(&PARAMETER)),
        (
            7,
            "requestBody",
            Form::One(&[(2, When::Has("$ref"), Form::Message(&REFERENCE)), (1, When::Always, Form::Message(&BODY))]),
        ),
        (8, "responses", Form::Message(&RESPONSES)),
        (10, "deprecated", Form::Flag),
        (11, "security", Form::List(&Form::Message(&REQUIREMENT))),
    ],
    others: None,
    extensions: 13,
};

static REFERENCE: Message = Message {
    fields: &[(1, "$ref", Form::Text), (2, "summary", Form::Text), (3, "description", Form::Text)],
    others: None,
    extensions: 0,
};

const PARAMETER: Form =
    Form::One(&[(2, When::Has("$ref"), Form::Message(&REFERENCE)), (1, When::Always, Form::Message(&PARAMETER_ITEM))]);

static PARAMETER_ITEM: Message = Message {
    fields: &[
        (1, "name", Form::Text),
        (2, "in", Form::Text),
        (3, "description", Form::Text),
        (4, "required", Form::Flag),
        (5, "deprecated", Form::Flag),
        (6, "allowEmptyValue", Form::Flag),
        (7, "style", Form::Text),
        (8, "explode", Form::Flag),
        (9, "allowReserved", Form::Flag),
        (10, "schema", Form::One(&SCHEMA)),
        (11, "example", Form::Any),
        (13, "content", Form::Message(&MEDIA_TYPES)),
    ],
    others: None,
    extensions: 14,
};

static BODY: Message = Message {
    fields: &[(1, "description", Form::Text), (2, "content", Form::Message(&MEDIA_TYPES)), (3, "required", Form::Flag)],
    others: None,
    extensions: 4,
};

static MEDIA_TYPES: Message = Message { fields: &[], others: Some((1, Form::Message(&MEDIA_TYPE))), extensions: 0 };

static MEDIA_TYPE: Message =
    Message { fields: &[(1, "schema", Form::One(&SCHEMA)), (2, "example", Form::Any)], others: None, extensions: 5 };

static RESPONSES: Message = Message { fields: &[(1, "default", RESPONSE)], others: Some((2, RESPONSE)), extensions: 3 };
const RESPONSE: Form =
    Form::One(&[(2, When::Has("$ref"), Form::Message(&REFERENCE)), (1, When::Always, Form::Message(&RESPONSE_ITEM))]);

static RESPONSE_ITEM: Message = Message {
    fields: &[(1, "description", Form::Text), (3, "content", Form::Message(&MEDIA_TYPES))],
    others: None,
    extensions: 5,
};

static COMPONENTS: Message = Message {
    fields: &[(1, "schemas", Form::Message(&SCHEMAS)), (7, "securitySchemes", Form::Message(&SECURITY))],
    others: None,
    extensions: 10,
};

static SCHEMAS: Message = Message { fields: &[], others: Some((1, Form::One(&SCHEMA))), extensions: 0 };
/// A reference stands alone.
static SCHEMA: [(u32, When, Form); 2] =
    [(2, When::Has("$ref"), Form::Message(&REFERENCE)), (1, When::Always, Form::Message(&SCHEMA_ITEM))];

static SCHEMA_ITEM: Message = Message {
    fields: &[
        (1, "nullable", Form::Flag),
        (3, "readOnly", Form::Flag),
        (4, "writeOnly", Form::Flag),
        (7, "example", Form::Any),
        (8, "deprecated", Form::Flag),
        (9, "title", Form::Text),
        (10, "multipleOf", Form::Number),
        (11, "maximum", Form::Number),
        (12, "exclusiveMaximum", Form::Flag),
        (13, "minimum", Form::Number),
        (14, "exclusiveMinimum", Form::Flag),
        (15, "maxLength", Form::Int),
        (16, "minLength", Form::Int),
        (17, "pattern", Form::Text),
        (18, "maxItems", Form::Int),
        (19, "minItems", Form::Int),
        (20, "uniqueItems", Form::Flag),
        (21, "maxProperties", Form::Int),
        (22, "minProperties", Form::Int),
        (23, "required", Form::List(&Form::Text)),
        (24, "enum", Form::List(&Form::Any)),
        (25, "type", Form::Text),
        (26, "allOf", Form::List(&Form::One(&SCHEMA))),
        (27, "oneOf", Form::List(&Form::One(&SCHEMA))),
        (28, "anyOf", Form::List(&Form::One(&SCHEMA))),
        (29, "not", Form::Message(&SCHEMA_ITEM)),
        (30, "items", Form::Around(1, &Form::One(&SCHEMA))),
        (31, "properties", Form::Message(&SCHEMAS)),
        (32, "additionalProperties", Form::One(&[(1, When::IsMap, Form::One(&SCHEMA)), (2, When::IsFlag, Form::Flag)])),
        (
            33,
            "default",
            // One that is a map or a list is lost there too.
            Form::One(&[
                (1, When::IsNumber, Form::Number),
                (2, When::IsFlag, Form::Flag),
                (3, When::IsText, Form::Text),
            ]),
        ),
        (34, "description", Form::Text),
        (35, "format", Form::Text),
    ],
    others: None,
    extensions: 36,
};

static REQUIREMENT: Message =
    Message { fields: &[], others: Some((1, Form::Around(1, &Form::List(&Form::Text)))), extensions: 0 };

static SECURITY: Message = Message {
    fields: &[],
    others: Some((
        1,
        Form::One(&[(2, When::Has("$ref"), Form::Message(&REFERENCE)), (1, When::Always, Form::Message(&SCHEME))]),
    )),
    extensions: 0,
};

static SCHEME: Message = Message {
    fields: &[
        (1, "type", Form::Text),
        (2, "description", Form::Text),
        (3, "name", Form::Text),
        (4, "in", Form::Text),
        (5, "scheme", Form::Text),
    ],
    others: None,
    extensions: 9,
};
