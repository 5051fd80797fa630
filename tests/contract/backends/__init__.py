"""Each backend's adapters, opened for the suites; here, which ports of which are tested."""

EVENTS = ["embedded", "redis", "redis_acl"]
CATALOGS = ["embedded", "redis", "redis_acl"]
VECTORS = ["embedded", "redis", "redis_acl", "pinecone", "pinecone_stale"]
