//! MongoDB for all roles: documents, collections, indexes.
