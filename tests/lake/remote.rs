//! `hookweir lakehouse` with Iceberg's REST catalog and a table in a bucket.

mod with_servers {
    mod with_rest {
        mod with_readers {
            use std::io::{Read as _, Write as _};
            use std::net::TcpStream;

            use hookweir_testkit::app::{App, five_sources};
            use hookweir_testkit::servers::{Server, address, amqp};
            use hookweir_testkit::sink::Queues;

            use crate::service::{all, check_reader, lakehouse, out, rows_beside_restarts, trace};

            fn make_bucket(store: &Server) {
                let mut stream =
                    TcpStream::connect(address(&store.url)).expect("the store answers");
                let request = "PUT /lake HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(request.as_bytes()).expect("sent");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("answered");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn events_of_rabbitmq_are_rows_in_a_bucket_behind_a_rest_catalog() {
                let queues = Queues::new(&amqp());
                let store = Server::s3();
                make_bucket(&store);
                let login = format!(
                    "login.credential=id:secret\nlogin.seconds=2\nvended.s3.endpoint={}\nvended.s3.path-style-access=true\n\
                     vended.s3.region=us-east-1\nvended.s3.access-key-id=v\nvended.s3.secret-access-key=v\n",
                    store.url
                );
                let catalog = Server::rest(&store.url, &login);
                let config = format!(
                    "{}[lakehouse]\nurl = \"s3://lake/hooks/\"\ncatalog = \"{}/\"\nqueue = \"{}.lake\"\ncommit_secs = 1\n\
                     properties = {{ credential = \"file:credential\" }}\n{}",
                    queues.config(),
                    catalog.url,
                    queues.exchange,
                    five_sources()
                );
                let before = hookweir_testkit::app::Launch {
                    before: Some("printf id:secret > credential; chmod 600 credential".to_owned()),
                    ..Default::default()
                };
                let mut app = App::launch_as(&config, before).await;
                app.ready().await;
                let (ledger, messages, beside) = rows_beside_restarts(&app, &queues, 2).await;
                let compared = lakehouse(&app, &["compare", "--until", "0s"]);
                assert!(compared.status.success(), "{}", all(&compared));
                let views = out(&lakehouse(&app, &["views"]));
                assert!(views.contains("s3://lake/hooks/events"), "{views}");
                let traced = trace(&app, &messages[0].id);
                assert_eq!(traced["state"], "row", "{traced}");
                drop(beside);
                app.stop().await;
                let place = format!("{} id:secret", catalog.url);
                check_reader("rest", &place, &ledger, &messages);
                queues.delete().await;
            }
        }
    }
}
