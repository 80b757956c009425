//! The kinds of networking.k8s.io.

pub(crate) mod ingress;
pub mod ingress_class;
