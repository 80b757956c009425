//! One Pod on one machine: plan → act → report; probes, volumes, limits, the node's HTTP API.
