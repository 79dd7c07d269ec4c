-- Where Airflow compresses a DAG, the document beside it is JSON's null, which is no DAG without mapped tasks.
DO $do$
BEGIN
    EXECUTE replace(pg_get_functiondef('excom.is_expanded'::regproc), 's.data IS NOT NULL AS is_readable',
                    's.data IS NOT NULL AND s.data_compressed IS NULL AS is_readable');
END $do$;
DELETE FROM excom.expansion e USING serialized_dag s WHERE s.dag_hash = e.dag_hash AND s.data_compressed IS NOT NULL;
