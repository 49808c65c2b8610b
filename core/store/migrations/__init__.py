"""The schema's history; ``Database.migrate`` brings any older one to the newest."""
