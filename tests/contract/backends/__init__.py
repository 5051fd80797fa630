"""Each backend's adapters, opened for the suites; here, which ports of which are tested."""

EVENTS = ["embedded", "redis", "redis_acl", "nats", "supabase", "supabase_pooled"]
CATALOGS = ["embedded", "redis", "redis_acl", "nats", "supabase", "supabase_pooled"]
VECTORS = [
    "embedded",
    "redis",
    "redis_acl",
    "supabase",
    "supabase_pooled",
    "pinecone",
    "pinecone_stale",
]
