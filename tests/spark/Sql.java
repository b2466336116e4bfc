// Runs SQL on the lakehouse by Apache Spark with Apache Iceberg's own runtime, in one process. For tests only.
//
//   java -cp 'JARS/*' Sql.java LAKE STATEMENT...
//
// LAKE is the folder of a lakehouse with a catalog in SQLite. Each row of a result is a line of JSON.

import java.nio.file.Files;
import org.apache.spark.sql.SparkSession;

public class Sql {
    public static void main(String[] args) throws Exception {
        String catalog = "spark.sql.catalog.hookweir";
        SparkSession spark = SparkSession.builder()
                .master("local[2]")
                .config("spark.ui.enabled", "false")
                .config("spark.driver.host", "127.0.0.1")
                .config("spark.driver.bindAddress", "127.0.0.1")
                .config("spark.local.dir", Files.createTempDirectory("hookweir-spark").toString())
                .config("spark.sql.shuffle.partitions", "2")
                .config("spark.sql.session.timeZone", "UTC")
                .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
                .config(catalog, "org.apache.iceberg.spark.SparkCatalog")
                .config(catalog + ".catalog-impl", "org.apache.iceberg.jdbc.JdbcCatalog")
                .config(catalog + ".uri", "jdbc:sqlite:" + args[0] + "/catalog.db")
                .config(catalog + ".warehouse", "file:" + args[0])
                .getOrCreate();
        for (int at = 1; at < args.length; at++) {
            for (String row : spark.sql(args[at]).toJSON().collectAsList()) System.out.println(row);
        }
        spark.stop();
    }
}
