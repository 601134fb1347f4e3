// The canonical that the product has: our migrations on a real PostgreSQL, but for the clock.

#include <libpq-fe.h>

#include <algorithm>
#include <stdexcept>

#include "sim/half.hpp"

namespace tally::sim {
namespace {

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;

Connection connect(const std::string& conninfo) {
  Connection connection(PQconnectdb(conninfo.c_str()), &PQfinish);
  if (PQstatus(connection.get()) != CONNECTION_OK)
    throw std::runtime_error(PQerrorMessage(connection.get()));
  PQsetNoticeProcessor(
      connection.get(), [](void*, const char*) {}, nullptr);
  return connection;
}

sync::Rows ask(PGconn* connection, const std::string& sql) {
  sync::Rows rows(PQexec(connection, sql.c_str()));
  if (PQstatus(connection) != CONNECTION_OK || *PQerrorMessage(connection) != '\0')
    throw std::runtime_error(sql + ": " + PQerrorMessage(connection));
  return rows;
}

template <class T>
T got(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().detail);
  return std::move(result).value();
}

Uuid id_at(const sync::Rows& rows, int row, int column) {
  return Uuid::parse(rows.text(row, column)).value();
}
std::int64_t number_at(const sync::Rows& rows, int row, int column) {
  return std::stoll(std::string(rows.text(row, column)));
}

class PostgresHalf : public Half {
 public:
  explicit PostgresHalf(const std::string& conninfo)
      : connection_(connect(conninfo)), canonical_(got(sync::Canonical::connect(conninfo))) {}

  void set_clock(Timestamp now) override {
    ask(connection_.get(), "update still.world set at = '" + now.text() + "'");
  }

  sync::Answer sync(const sync::Call& call) override {
    const auto parameters = sync::parameters_of(call);
    const sync::BoundParameters bound(parameters);
    PGresult* result = PQexecParams(connection_.get(), sync::sync_statement, bound.count(), nullptr,
                                    bound.values(), bound.lengths(), bound.formats(), 0);
    const sync::Rows rows(result);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
      throw std::runtime_error(PQresultErrorMessage(result));
    return sync::read_answer(rows, call.push);
  }

  bool apply(const std::string& line) override {
    const std::vector<std::string> lines{line};
    return got(canonical_.apply(lines)).front().code == Code::ok;
  }

  sync::DeviceToken add_device(const sync::NewDevice& device) override {
    return got(canonical_.add_device(device));
  }
  void revoke_device(const Uuid& device_id) override { (void)canonical_.revoke_device(device_id); }
  void write_off(const Uuid& lease_id) override { (void)canonical_.write_off(lease_id); }

  std::vector<Row> rows(const std::string& table, const Uuid& user_id) override {
    auto rows = got(canonical_.rows(table, user_id));
    constexpr std::size_t seq = 9;
    if (table == "credit_ledger") {
      std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
        return std::stoll(*a[seq]) < std::stoll(*b[seq]);
      });
    }
    return rows;
  }
  std::vector<TableDigest> digest(const Uuid& user_id) override {
    return got(canonical_.digest(user_id));
  }

  std::vector<Lease> open_leases() override {
    const auto rows = ask(connection_.get(),
                          "select lease_id, user_id, device_id, unspent from tally_sync.leases "
                          "where closed_at is null order by lease_id");
    std::vector<Lease> leases;
    for (int row = 0; row < rows.count(); ++row)
      leases.push_back(
          {id_at(rows, row, 0), id_at(rows, row, 1), id_at(rows, row, 2), number_at(rows, row, 3)});
    return leases;
  }

  std::vector<Account> accounts() override {
    const auto rows =
        ask(connection_.get(),
            "select a.user_id, a.balance, "
            "(select coalesce(sum(s.hold), 0) from tally.job_state s where s.user_id = a.user_id), "
            "(select coalesce(sum(l.unspent), 0) from tally_sync.leases l "
            "where l.user_id = a.user_id and l.closed_at is null) "
            "from tally.accounts a order by a.user_id");
    std::vector<Account> accounts;
    for (int row = 0; row < rows.count(); ++row)
      accounts.push_back({id_at(rows, row, 0), number_at(rows, row, 1), number_at(rows, row, 2),
                          number_at(rows, row, 3)});
    return accounts;
  }

  /// A database that is put back is the server tests' own.
  std::shared_ptr<const void> backup() override { return nullptr; }
  void restore(const std::shared_ptr<const void>&) override {}

 private:
  Connection connection_;
  sync::Canonical canonical_;
};

}  // namespace

PostgresWorlds::PostgresWorlds(std::string conninfo, const std::string& clock_sql)
    : conninfo_(std::move(conninfo)) {
  const auto server = connect(conninfo_ + " dbname=postgres");
  ask(server.get(), "create database sim_template");
  {
    auto canonical = got(sync::Canonical::connect(conninfo_ + " dbname=sim_template"));
    got(canonical.migrate({.shim = true}));
  }
  ask(connect(conninfo_ + " dbname=sim_template").get(), clock_sql);
}

std::unique_ptr<Half> PostgresWorlds::make() {
  const auto server = connect(conninfo_ + " dbname=postgres");
  ask(server.get(), "drop database if exists sim_world");
  ask(server.get(), "create database sim_world template sim_template");
  return std::make_unique<PostgresHalf>(conninfo_ + " dbname=sim_world");
}

}  // namespace tally::sim
