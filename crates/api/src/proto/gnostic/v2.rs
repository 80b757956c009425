//! The messages of version 2, as far as documents of an API have them.
//!
//! gnostic-models openapiv2/OpenAPIv2.proto.

use super::{Form, Message, When};

pub static DOCUMENT: Message = Message {
    fields: &[
        (1, "swagger", Form::Text),
        (2, "info", Form::Message(&INFO)),
        (3, "host", Form::Text),
        (4, "basePath", Form::Text),
        (5, "schemes", Form::List(&Form::Text)),
        (6, "consumes", Form::List(&Form::Text)),
        (7, "produces", Form::List(&Form::Text)),
        (8, "paths", Form::Message(&PATHS)),
        (9, "definitions", Form::Message(&DEFINITIONS)),
        (10, "parameters", Form::Message(&PARAMETERS)),
        (12, "security", Form::List(&Form::Message(&REQUIREMENT))),
        (13, "securityDefinitions", Form::Message(&SECURITY)),
    ],
    others: None,
    extensions: 16,
};

static INFO: Message = Message {
    fields: &[(1, "title", Form::Text), (2, "version", Form::Text), (3, "description", Form::Text)],
    others: None,
    extensions: 7,
};

static PATHS: Message = Message { fields: &[], others: Some((2, Form::Message(&PATH_ITEM))), extensions: 1 };

static PATH_ITEM: Message = Message {
    fields: &[
        (1, "$ref", Form::Text),
        (2, "get", Form::Message(&OPERATION)),
        (3, "put", Form::Message(&OPERATION)),
        (4, "post", Form::Message(&OPERATION)),
        (5, "delete", Form::Message(&OPERATION)),
        (6, "options", Form::Message(&OPERATION)),
        (7, "head", Form::Message(&OPERATION)),
        (8, "patch", Form::Message(&OPERATION)),
        (9, "parameters", Form::List(&PARAMETERS_ITEM)),
    ],
    others: None,
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        (1, "tags", Form::List(&Form::Text)),
        (2, "summary", Form::Text),
        (3, "description", Form::Text),
        (5, "operationId", Form::Text),
        (6, "produces", Form::List(&Form::Text)),
        (7, "consumes", Form::List(&Form::Text)),
        (8, "parameters", Form::List(&PARAMETERS_ITEM)),
        (9, "responses", Form::Message(&RESPONSES)),
        (10, "schemes", Form::List(&Form::Text)),
        (11, "deprecated", Form::Flag),
        (12, "security", Form::List(&Form::Message(&REQUIREMENT))),
    ],
    others: None,
    extensions: 13,
};

static PARAMETERS: Message = Message { fields: &[], others: Some((1, PARAMETER)), extensions: 0 };

/// A reference to one of the document's, or one of its own.
const PARAMETERS_ITEM: Form =
    Form::One(&[(2, When::Has("$ref"), Form::Message(&REFERENCE)), (1, When::Always, PARAMETER)]);
const PARAMETER: Form = Form::One(&[(1, When::In("body"), Form::Message(&BODY)), (2, When::Always, NO_BODY)]);
const NO_BODY: Form = Form::One(&[
    (1, When::In("header"), Form::Message(&SIMPLE)),
    (2, When::In("formData"), Form::Message(&OPTIONAL)),
    (3, When::In("query"), Form::Message(&OPTIONAL)),
    (4, When::In("path"), Form::Message(&SIMPLE)),
]);

static REFERENCE: Message =
    Message { fields: &[(1, "$ref", Form::Text), (2, "description", Form::Text)], others: None, extensions: 0 };

static BODY: Message = Message {
    fields: &[
        (1, "description", Form::Text),
        (2, "name", Form::Text),
        (3, "in", Form::Text),
        (4, "required", Form::Flag),
        (5, "schema", Form::Message(&SCHEMA)),
    ],
    others: None,
    extensions: 6,
};

/// In a path or a header.
static SIMPLE: Message = Message {
    fields: &[
        (1, "required", Form::Flag),
        (2, "in", Form::Text),
        (3, "description", Form::Text),
        (4, "name", Form::Text),
        (5, "type", Form::Text),
        (6, "format", Form::Text),
        (9, "default", Form::Any),
        (16, "pattern", Form::Text),
        (19, "uniqueItems", Form::Flag),
        (20, "enum", Form::List(&Form::Any)),
    ],
    others: None,
    extensions: 22,
};

/// In a query or a form.
static OPTIONAL: Message = Message {
    fields: &[
        (1, "required", Form::Flag),
        (2, "in", Form::Text),
        (3, "description", Form::Text),
        (4, "name", Form::Text),
        (5, "allowEmptyValue", Form::Flag),
        (6, "type", Form::Text),
        (7, "format", Form::Text),
        (10, "default", Form::Any),
        (17, "pattern", Form::Text),
        (20, "uniqueItems", Form::Flag),
        (21, "enum", Form::List(&Form::Any)),
    ],
    others: None,
    extensions: 23,
};

static RESPONSES: Message = Message { fields: &[], others: Some((1, RESPONSE_VALUE)), extensions: 2 };
const RESPONSE_VALUE: Form =
    Form::One(&[(2, When::Has("$ref"), Form::Message(&REFERENCE)), (1, When::Always, Form::Message(&RESPONSE))]);

static RESPONSE: Message = Message {
    fields: &[(1, "description", Form::Text), (2, "schema", Form::Around(1, &Form::Message(&SCHEMA)))],
    others: None,
    extensions: 5,
};

static DEFINITIONS: Message = Message { fields: &[], others: Some((1, Form::Message(&SCHEMA))), extensions: 0 };

static SCHEMA: Message = Message {
    fields: &[
        (1, "$ref", Form::Text),
        (2, "format", Form::Text),
        (3, "title", Form::Text),
        (4, "description", Form::Text),
        (5, "default", Form::Any),
        (6, "multipleOf", Form::Number),
        (7, "maximum", Form::Number),
        (8, "exclusiveMaximum", Form::Flag),
        (9, "minimum", Form::Number),
        (10, "exclusiveMinimum", Form::Flag),
        (11, "maxLength", Form::Int),
        (12, "minLength", Form::Int),
        (13, "pattern", Form::Text),
        (14, "maxItems", Form::Int),
        (15, "minItems", Form::Int),
        (16, "uniqueItems", Form::Flag),
        (17, "maxProperties", Form::Int),
        (18, "minProperties", Form::Int),
        (19, "required", Form::List(&Form::Text)),
        (20, "enum", Form::List(&Form::Any)),
        (
            21,
            "additionalProperties",
            Form::One(&[(1, When::IsMap, Form::Message(&SCHEMA)), (2, When::IsFlag, Form::Flag)]),
        ),
        (22, "type", Form::Around(1, &Form::Text)),
        (23, "items", Form::Around(1, &Form::Message(&SCHEMA))),
        (24, "allOf", Form::List(&Form::Message(&SCHEMA))),
        (25, "properties", Form::Message(&DEFINITIONS)),
        (26, "discriminator", Form::Text),
        (27, "readOnly", Form::Flag),
        (30, "example", Form::Any),
    ],
    others: None,
    extensions: 31,
};

static REQUIREMENT: Message =
    Message { fields: &[], others: Some((1, Form::Around(1, &Form::List(&Form::Text)))), extensions: 0 };

static SECURITY: Message =
    Message { fields: &[], others: Some((1, Form::One(&[(2, When::Always, Form::Message(&API_KEY))]))), extensions: 0 };

static API_KEY: Message = Message {
    fields: &[(1, "type", Form::Text), (2, "name", Form::Text), (3, "in", Form::Text), (4, "description", Form::Text)],
    others: None,
    extensions: 5,
};
