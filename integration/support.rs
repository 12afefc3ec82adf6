//! What every test stands on: namespaces, real servers, clients with a deadline, the door itself.

pub mod capture;
pub mod certificates;
pub mod client;
pub mod control_connection;
pub mod data_client;
pub mod deadline;
pub mod door;
pub mod file_server;
pub mod grid;
pub mod gsi;
pub mod gsi_client;
pub mod http_client;
pub mod interfaces;
pub mod keepalived;
pub mod leftovers;
pub mod local_door;
pub mod local_server;
pub mod name_server;
pub mod netns;
pub mod other_servers;
pub mod ownership;
pub mod process;
pub mod seeded;
pub mod server;
pub mod skip;
pub mod stub_server;
