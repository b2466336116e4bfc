DROP TABLE instance;
DROP TABLE conflict;
DROP TABLE parked;
DROP TABLE published;
DROP TABLE outbox;
DROP TABLE event;
DROP TABLE dedup;
