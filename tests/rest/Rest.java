// Apache Iceberg's own REST catalog, over its JDBC catalog on SQLite, with what a real one has: a login and vended credentials; and with faults
// that a test asks for. For tests only.
//
//   java -cp 'JARS/*' Rest.java FOLDER PORT
//
// FOLDER/catalog.properties has the properties of the catalog. Those that begin with "vended." are handed out with each table. A line in
// FOLDER/faults is the fault of one commit: "lost" (takes place, answers 500), "late" (answers 500, takes place half a second later), "refused"
// (answers 503) or "none".

// For a name that only this package may say.
package org.apache.iceberg.rest;

import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import org.apache.iceberg.jdbc.JdbcCatalog;
import org.apache.iceberg.rest.credentials.Credential;
import org.apache.iceberg.rest.credentials.ImmutableCredential;
import org.apache.iceberg.rest.responses.LoadTableResponse;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;

public class Rest {
    static final ThreadLocal<Boolean> WANTS_CREDENTIALS = ThreadLocal.withInitial(() -> false);

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[0]);
        Properties read = new Properties();
        try (var file = Files.newBufferedReader(folder.resolve("catalog.properties"))) {
            read.load(file);
        }
        Map<String, String> all = new HashMap<>();
        read.forEach((name, value) -> all.put((String) name, (String) value));
        JdbcCatalog catalog = new JdbcCatalog();
        catalog.initialize("hookweir", all);
        Server server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[1])));
        ServletContextHandler context = new ServletContextHandler();
        context.addServlet(new ServletHolder(new Front(new Vending(catalog, all), folder, all)), "/*");
        server.setHandler(context);
        server.start();
        server.join();
    }

    /// The catalog, with credentials for whoever asks for them.
    static class Vending extends RESTCatalogAdapter {
        private final Map<String, String> credentials = new HashMap<>();

        Vending(JdbcCatalog catalog, Map<String, String> all) {
            super(catalog);
            all.forEach((name, value) -> {
                if (name.startsWith("vended.")) credentials.put(name.substring("vended.".length()), value);
            });
        }

        @Override
        public <T extends RESTResponse> T handleRequest(
                Route route, Map<String, String> vars, Object body, Class<T> type) {
            T answer = super.handleRequest(route, vars, body, type);
            if (!WANTS_CREDENTIALS.get() || credentials.isEmpty() || !(answer instanceof LoadTableResponse)) return answer;
            LoadTableResponse table = (LoadTableResponse) answer;
            if (table.tableMetadata().metadataFileLocation() == null) return answer;
            Credential credential = ImmutableCredential.builder().prefix("s3://").config(credentials).build();
            LoadTableResponse with = LoadTableResponse.builder()
                    .withTableMetadata(table.tableMetadata())
                    .addAllConfig(table.config())
                    .addCredential(credential)
                    .build();
            return type.cast(with);
        }
    }

    /// The login and the faults before the catalog.
    static class Front extends RESTCatalogServlet {
        private static final HttpClient CLIENT = HttpClient.newHttpClient();
        private final Path faults;
        private final Map<String, String> all;
        private final Map<String, Long> tokens = new ConcurrentHashMap<>();

        Front(Vending catalog, Path folder, Map<String, String> all) {
            super(catalog);
            this.faults = folder.resolve("faults");
            this.all = all;
        }

        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
            if (request.getRequestURI().endsWith("/v1/oauth/tokens")) {
                grant(request, response);
                return;
            }
            if (!mayEnter(request)) {
                answer(response, 401, error("not authorized", 401));
                return;
            }
            WANTS_CREDENTIALS.set("vended-credentials".equals(request.getHeader("X-Iceberg-Access-Delegation")));
            boolean isCommit = "POST".equals(request.getMethod()) && request.getRequestURI().contains("/tables/");
            String fault = isCommit && request.getHeader("X-Late") == null ? next() : "";
            if (fault.equals("late")) {
                later(request);
                answer(response, 500, error("asked for by a test", 500));
                return;
            }
            if (fault.equals("refused")) {
                answer(response, 503, error("asked for by a test", 503));
                return;
            }
            try {
                if (fault.equals("lost")) {
                    super.service(request, new Deaf(response));
                    answer(response, 500, error("asked for by a test", 500));
                } else {
                    super.service(request, response);
                }
            } catch (jakarta.servlet.ServletException error) {
                throw new IOException(error);
            }
        }

        /// Sends the request again after half a second.
        private static void later(HttpServletRequest request) throws IOException {
            var again = HttpRequest.newBuilder(URI.create(request.getRequestURL().toString()))
                    .header("X-Late", "1")
                    .header("Content-Type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofByteArray(request.getInputStream().readAllBytes()));
            String login = request.getHeader("Authorization");
            if (login != null) again.header("Authorization", login);
            Executor then = CompletableFuture.delayedExecutor(500, TimeUnit.MILLISECONDS);
            then.execute(() -> CLIENT.sendAsync(again.build(), HttpResponse.BodyHandlers.discarding()));
        }

        private boolean mayEnter(HttpServletRequest request) {
            String given = request.getHeader("Authorization");
            String fixed = all.get("login.token");
            if (fixed == null && all.get("login.credential") == null) return true;
            if (given == null || !given.startsWith("Bearer ")) return false;
            String token = given.substring("Bearer ".length());
            Long until = tokens.get(token);
            return token.equals(fixed) || (until != null && System.nanoTime() < until);
        }

        private void grant(HttpServletRequest request, HttpServletResponse response) throws IOException {
            String credential = request.getParameter("client_id") + ":" + request.getParameter("client_secret");
            if (!"client_credentials".equals(request.getParameter("grant_type")) || !credential.equals(all.get("login.credential"))) {
                answer(response, 401, error("wrong credential", 401));
                return;
            }
            long seconds = Long.parseLong(all.getOrDefault("login.seconds", "3600"));
            String token = UUID.randomUUID().toString();
            tokens.put(token, System.nanoTime() + seconds * 1_000_000_000L);
            // The time that is told may be longer than the one that holds, as with a token that is revoked.
            String told = all.getOrDefault("login.told_seconds", String.valueOf(seconds));
            answer(response, 200, "{\"access_token\":\"" + token + "\",\"token_type\":\"bearer\",\"expires_in\":" + told + "}");
        }

        private synchronized String next() throws IOException {
            if (!Files.exists(faults)) return "";
            List<String> lines = Files.readAllLines(faults);
            if (lines.isEmpty()) return "";
            Files.write(faults, lines.subList(1, lines.size()));
            return lines.get(0);
        }

        private static String error(String message, int code) {
            return "{\"error\":{\"message\":\"" + message + "\",\"type\":\"Test\",\"code\":" + code + "}}";
        }

        private static void answer(HttpServletResponse response, int status, String body) throws IOException {
            response.setStatus(status);
            response.setContentType("application/json");
            response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
        }
    }

    /// A response that nobody hears.
    static class Deaf extends jakarta.servlet.http.HttpServletResponseWrapper {
        Deaf(HttpServletResponse response) {
            super(response);
        }

        @Override
        public void setStatus(int status) {}

        @Override
        public void setHeader(String name, String value) {}

        @Override
        public java.io.PrintWriter getWriter() {
            return new java.io.PrintWriter(java.io.Writer.nullWriter());
        }
    }
}
