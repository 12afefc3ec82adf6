//! Balancing by the kernel: in guest kernels that have IPVS, with what is the reference for our own, ipvsadm(8) and keepalived.

mod data_path;
mod direct_routing;
mod door;
mod drains;
mod engine;
mod expectations;
mod fallback;
mod flow_sync;
mod grid;
mod guest;
mod others;
mod persistence;
mod reference;
mod restart;
mod unfit;
