-- report of {{ ds }}
{% include 'part.sql' %}
