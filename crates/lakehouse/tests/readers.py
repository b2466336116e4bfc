"""What readers see in the lakehouse, as lines of JSON.

    readers.py rows READER LAKE                  every row, with the SHA-256 of its body
    readers.py count READER LAKE COLUMN VALUE... rows that a filter finds, for each value
    readers.py views duckdb LAKE FILE VIEW...    runs the SQL in FILE; rows of each view, and those whose body is JSON

READER is duckdb, pyiceberg, or rest for pyiceberg with a REST catalog. DuckDB opens the folder, offline, with extensions from PyPI.
"""
import glob
import hashlib
import importlib
import json
import os
import sys


def sha256(text, raw):
    assert (text is None) != (raw is None), "exactly one of body and body_bytes is set"
    return hashlib.sha256(raw if text is None else text.encode()).hexdigest()


def milliseconds(time):
    return time if isinstance(time, int) else round(time.timestamp() * 1000)


def row(message_id, source, event_id, event_type, content_type, received_at, committed_at, headers, body, body_bytes,
        conflict_of, same_bytes_as):
    return {
        "message_id": message_id, "source": source, "event_id": event_id, "event_type": event_type,
        "content_type": content_type, "received_at": milliseconds(received_at),
        "committed": committed_at is not None, "headers": dict(headers or {}), "body": sha256(body, body_bytes),
        "text": body is not None, "conflict_of": conflict_of, "same_bytes_as": same_bytes_as,
    }


COLUMNS = ["message_id", "source", "event_id", "event_type", "content_type", "received_at", "committed_at", "headers",
           "body", "body_bytes", "conflict_of", "same_bytes_as"]


class DuckDb:
    def __init__(self, lake):
        import duckdb
        self.db = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
        for name in ["avro", "iceberg"]:
            package = importlib.import_module(f"duckdb_extension_{name}")
            folder = os.path.dirname(package.__file__)
            (path,) = glob.glob(f"{folder}/**/{name}.duckdb_extension", recursive=True)
            self.db.execute(f"LOAD '{path}'")
        self.db.execute("SET TimeZone = 'UTC'")
        self.scan = f"iceberg_scan('{lake}/events')"

    def rows(self):
        # A time with a zone would need another module.
        columns = [f"epoch_ms({name})" if name.endswith("_at") else name for name in COLUMNS]
        return self.db.execute(f"SELECT {', '.join(columns)} FROM {self.scan}").fetchall()

    def count(self, column, value):
        query = f"SELECT count(*) FROM {self.scan} WHERE {column} = ?"
        return self.db.execute(query, [value]).fetchone()[0]


class PyIceberg:
    def __init__(self, lake):
        lake = os.path.abspath(lake)
        if os.path.exists(f"{lake}/catalog.db"):
            from pyiceberg.catalog.sql import SqlCatalog
            catalog = SqlCatalog("hookweir", uri=f"sqlite:///{lake}/catalog.db", init_catalog_tables="false")
            self.table = catalog.load_table("webhooks.events")
        else:
            from pyiceberg.table import StaticTable
            with open(f"{lake}/events/metadata/version-hint.text") as hint:
                self.table = StaticTable.from_metadata(f"{lake}/events/metadata/{hint.read()}.metadata.json")

    def rows(self):
        table = self.table.scan(selected_fields=tuple(COLUMNS)).to_arrow().select(COLUMNS)
        return [tuple(row.values()) for row in table.to_pylist()]

    def count(self, column, value):
        from pyiceberg.expressions import EqualTo
        return len(self.table.scan(row_filter=EqualTo(column, value), selected_fields=(column,)).to_arrow())


class Rest(PyIceberg):
    """A table behind a REST catalog: LAKE is its URL, and the credential."""

    def __init__(self, lake):
        from pyiceberg.catalog.rest import RestCatalog
        url, credential = lake.split()
        catalog = RestCatalog("rest", uri=url, credential=credential, **{"header.X-Iceberg-Access-Delegation": "vended-credentials"})
        self.table = catalog.load_table("webhooks.events")


def main():
    what, reader, lake, *rest = sys.argv[1:]
    reader = {"duckdb": DuckDb, "pyiceberg": PyIceberg, "rest": Rest}[reader](lake)
    if what == "rows":
        for values in reader.rows():
            print(json.dumps(row(*values)))
    elif what == "views":
        path, *views = rest
        with open(path) as sql:
            reader.db.execute(sql.read())
        for view in views:
            print(json.dumps(reader.db.execute(f'SELECT count(*), count(json) FROM "{view}"').fetchone()))
    else:
        column, *values = rest
        for value in values:
            print(json.dumps(reader.count(column, value)))


main()
